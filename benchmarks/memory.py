"""Check that a run holds no more in memory than the largest prior, the VQ-VAE and a cache.

    python benchmarks/memory.py

A three-level pipeline with random weights is written to disk. Fresh processes then load one prior, and sample with all
three, left on disk by `low_memory=True`; their peak memory is compared with the sizes of the models.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import measuring
import torch
from serving import resident

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.memory.batch_size import song_bytes, weight_bytes

RUN_ALLOWED, LOAD_ALLOWED = 1.15, 1.1
SHAPE = {"hidden_size": 1024, "num_hidden_layers": 24, "n_ctx": 1024, "attention_blocks": 32, "codebook_size": 2048}
UPSAMPLER = {"upsampling_strides": [2, 2], "conditioner_depth": 4, "sampling_rate": 44100}


class Peak(threading.Thread):
    """Thread that records the peak memory of the process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self.watching = 0, True
        self.start()

    def run(self) -> None:
        while self.watching:
            self.bytes = max(self.bytes, resident("VmRSS"))
            time.sleep(0.002)


def write_model(folder: Path) -> dict[str, int]:
    """Write the pipeline, and return the bytes that a run may need."""
    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("5b")).eval()
    priors = [
        JukeboxPrior(JukeboxPriorConfig(level=0, hop_length=8, **SHAPE, **UPSAMPLER)),
        JukeboxPrior(JukeboxPriorConfig(level=1, hop_length=32, **SHAPE, **UPSAMPLER)),
        JukeboxPrior(JukeboxPriorConfig(level=2, hop_length=128, **SHAPE)),
    ]
    JukeboxPipeline(vqvae, None, *priors).save_pretrained(folder)
    largest = max(priors, key=weight_bytes)
    total = {"prior": weight_bytes(largest), "vqvae": weight_bytes(vqvae)}
    return total | {"cache": max(song_bytes(prior, SHAPE["n_ctx"]) for prior in priors)}


def load(folder: Path) -> None:
    before = resident("VmRSS")
    peak = Peak()
    prior = JukeboxPrior.from_pretrained(folder / "prior_0")
    peak.watching = False
    print(json.dumps({"above": max(peak.bytes, resident("VmRSS")) - before, "size": weight_bytes(prior)}))


def run(folder: Path) -> None:
    before = resident("VmRSS")
    peak = Peak()
    pipe = JukeboxPipeline.from_pretrained(folder, low_memory=True)
    pipe.set_progress_bar_config(disable=True)
    pipe(audio_length_in_s=16 * 128 / 44100, generator=torch.Generator().manual_seed(0))
    peak.watching = False
    print(json.dumps({"above": peak.bytes - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--part", choices=["load", "run"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        {"load": load, "run": run}[options.part](options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        needed = write_model(Path(name))
        parts: dict[str, Any] = {}
        for part in ("load", "run"):
            command = [sys.executable, __file__, "--part", part, "--folder", name, "--threads", str(options.threads)]
            parts[part] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    load_ratio = parts["load"]["above"] / parts["load"]["size"]
    run_ratio = parts["run"]["above"] / sum(needed.values())
    rows = [
        {"what": "loading a prior / its size", "ratio": round(load_ratio, 3), "allowed": LOAD_ALLOWED},
        {"what": "a run / largest prior + VQ-VAE + cache", "ratio": round(run_ratio, 3), "allowed": RUN_ALLOWED},
    ]
    holds = load_ratio <= LOAD_ALLOWED and run_ratio <= RUN_ALLOWED
    measuring.table(rows)
    measuring.finish(
        benchmark="memory", **measuring.machine(options.threads), needed=needed, parts=parts, rows=rows, holds=holds
    )
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
