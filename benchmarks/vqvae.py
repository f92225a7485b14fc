"""Measure the speed of the VQ-VAE, and check that its memory does not grow with the length.

    python benchmarks/vqvae.py --peer PEER/bin/python

The VQ-VAE has the released shape and random weights. Memory is the peak of a fresh process for one minute and for ten.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring
import torch
from measuring import median
from serving import resident

from hf_jukebox import JukeboxVQVAE, JukeboxVQVAEConfig

MINUTES = (1, 10)
GROWTH_ALLOWED = 1.2


def random_vqvae() -> JukeboxVQVAE:
    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("5b")).eval()
    for quantizer in vqvae.quantizers:
        quantizer.codebook.normal_(std=0.1)
    return vqvae


def peer_config(config: JukeboxVQVAEConfig) -> dict[str, Any]:
    return {
        "levels": config.num_levels,
        "multipliers": config.multipliers,
        "res_conv_width": config.width,
        "res_conv_depth": config.depth,
        "res_downs_t": config.downs_t,
        "res_strides_t": config.strides_t,
        "embed_dim": config.codebook_dim,
        "nb_discrete_codes": config.codebook_size,
    }


def print_peak(minutes: int) -> None:
    """Encode and decode this much audio, and print the peak memory, also above that of the model, in MB."""
    vqvae = random_vqvae()
    before = resident("VmRSS")
    audio = torch.rand(1, minutes * 60 * 44100).sub_(0.5)
    codes = vqvae.encode(audio)
    for block in vqvae.iter_decode(codes[0], 0):
        del block
    peak = resident("VmHWM")
    in_and_out = audio.nbytes + sum(level_codes.nbytes for level_codes in codes)
    print(json.dumps({"peak_mb": peak / 2**20, "above_model_mb": (peak - before) / 2**20, "io_mb": in_and_out / 2**20}))


def memory(options: argparse.Namespace) -> dict[str, Any]:
    peaks = {}
    for minutes in MINUTES:
        command = [sys.executable, __file__, "--peak-of", str(minutes), "--threads", str(options.threads)]
        peaks[minutes] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # Audio and codes belong to the caller; the memory of encoding and decoding beyond them must not grow.
    own = {minutes: peak["peak_mb"] - peak["io_mb"] for minutes, peak in peaks.items()}
    growth = own[MINUTES[1]] / own[MINUTES[0]]
    return {"peaks": peaks, "growth_beside_audio": round(growth, 3), "holds": growth <= GROWTH_ALLOWED}


def speed(options: argparse.Namespace) -> list[dict[str, Any]]:
    vqvae = random_vqvae()
    samples = int(options.seconds * 44100) // 128 * 128
    audio = torch.rand(1, samples, generator=torch.Generator().manual_seed(0)) - 0.5
    codes = vqvae.encode(audio)
    measures: dict[str, Callable[[], float]] = {
        "encode": lambda: measuring.seconds(lambda: vqvae.encode(audio)),
        "decode": lambda: measuring.seconds(lambda: vqvae.decode(codes[0], 0)),
    }
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "vqvae.pt"
        state = measuring.peer_state(vqvae)
        torch.save({"config": peer_config(vqvae.config), "state": state, "upper": torch.zeros(1)}, weights)
        rivals = measuring.others(options, weights)
        tasks = {"encode": "encode", "decode": "reconstruct"}
        for name, rival in rivals.items():
            for task, peer_task in tasks.items():
                measures[f"{task}, {name}"] = lambda rival=rival, peer_task=peer_task: float(
                    rival.request(task=peer_task, samples=samples)["seconds"]
                )
        for measure in measures.values():
            measure()  # warm up
        taken = measuring.in_turn(options.rounds, measures)
    rows = []
    for task in tasks:
        row: dict[str, Any] = {"what": task, "times real time": round(options.seconds / median(taken[task]), 1)}
        for name in rivals:
            ratios = [theirs / ours for theirs, ours in zip(taken[f"{task}, {name}"], taken[task], strict=True)]
            row[f"times {name}"] = round(median(ratios), 2)
        rows.append(row)
    measuring.table(rows)
    return rows


def main() -> None:
    parser = measuring.arguments(__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the audio")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        if options.peak_of:
            print_peak(options.peak_of)
            return
        rows = speed(options)
    held = memory(options)
    measuring.finish(benchmark="vqvae", **measuring.machine(options.threads), rows=rows, memory=held)
    sys.exit(0 if held["holds"] else 1)


if __name__ == "__main__":
    main()
