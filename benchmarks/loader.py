"""Compare the throughput of the data loader with that of training, in seconds of audio per second.

    python benchmarks/loader.py
    python benchmarks/loader.py --gpu --workers 8

Songs of 3 minutes are synthesised in several formats, and chunks of 262144 samples (5.9 s) or windows of 8192 codes of
128 samples are read in the order of training. A step is forward, backward and Adam: of the published `small_vqvae` on
such chunks and of `small_prior` on such windows, batch 4; on a CPU on an eighth of either, batch 1. On the CPU all
times are seconds of one core, so that other programs do not matter: the ratio shows how small a share of training
loading is.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from measuring import finish, machine, seconds, table
from torch.utils.data import Dataset

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.training.data import (
    ChunkSettings,
    audio_data,
    audio_data_for_prior,
    code_data,
    encode_songs,
    songs_of_folder,
    training_loader,
)

RATE = 44100
CHUNK = 262144
BATCH = 4
SONG = 180.0
FORMATS = {"wav": 44100, "flac": 44100, "ogg": 44100, "mp3": 44100, "flac, resampled": 48000}


def write_song(folder: Path, suffix: str, rate: int) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(folder / f"song.{suffix}", "w", rate, 2) as file:
        for second in range(round(SONG)):  # libsndfile cannot write a long ogg at once
            time_axis = second + np.arange(rate) / rate
            tone = np.sin(2 * np.pi * np.array([220.0, 331.0]) * time_axis[:, None])
            file.write((0.3 * tone + 0.1 * rng.standard_normal(tone.shape)).astype(np.float32))
    return folder


def core_seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def loaded(dataset: Dataset[Any], chunk: int) -> float:
    """Return the seconds of audio that one core loads per second."""
    batches = iter(training_loader(dataset, BATCH))
    next(batches)
    count = spent = 0.0
    while spent < 2.0:
        spent += core_seconds(lambda: next(batches))
        count += BATCH
    return count * chunk / RATE / spent


def stepped(model: torch.nn.Module, inputs: dict[str, torch.Tensor], samples: int, device: str) -> float:
    """Return the seconds of audio that training consumes per second of one core, or of the GPU."""
    model.train().to(device)
    inputs = {name: each.to(device) for name, each in inputs.items()}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    return samples / RATE / min(seconds(step, device) if device == "cuda" else core_seconds(step) for _ in range(2))


def steps(device: str) -> dict[str, float]:
    batch, chunk, n_ctx = (BATCH, CHUNK, 8192) if device == "cuda" else (1, CHUNK // 8, 1024)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("small_vqvae", sampling_rate=RATE))
    prior = JukeboxPrior(JukeboxPriorConfig.from_preset("small_prior", n_ctx=n_ctx, hop_length=128))
    audio, codes = torch.randn(batch, chunk) * 0.1, torch.randint(1024, (batch, n_ctx))
    return {
        "small_vqvae": stepped(vqvae, {"audio": audio}, audio.numel(), device),
        "small_prior": stepped(prior, {"codes": codes}, codes.numel() * 128, device),
    }


def sources(folder: Path) -> dict[str, tuple[Dataset[Any], int]]:
    """Return datasets by name, each with the samples per example."""
    datasets: dict[str, tuple[Dataset[Any], int]] = {}
    for name, rate in FORMATS.items():
        songs = songs_of_folder(write_song(folder / name, name.split(",")[0], rate))
        datasets[name] = (audio_data(songs, ChunkSettings(CHUNK, RATE, aug_shift=True, aug_blend=True)).train, CHUNK)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("tiny_vqvae", sampling_rate=RATE)).eval()
    config = JukeboxPriorConfig.from_preset("tiny_prior", sampling_rate=RATE, n_ctx=8192)
    settings = ChunkSettings.for_prior(config, vqvae.config, aug_shift=True)
    flac = songs_of_folder(folder / "flac")
    window = config.window_length
    datasets["flac, for a prior"] = (audio_data_for_prior(flac, settings, config, vqvae).train, window)
    datasets["codes"] = (code_data(encode_songs(flac, vqvae, folder / "codes"), settings, config).train, window)
    return datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="steps on a CUDA GPU, at the published sizes")
    parser.add_argument("--workers", type=int, default=4, help="loader cores for a GPU")
    options = parser.parse_args()
    device, cores = ("cuda", options.workers) if options.gpu else ("cpu", 1)
    consumed = steps(device)
    with tempfile.TemporaryDirectory() as folder:
        speed = {name: loaded(*source) for name, source in sources(Path(folder)).items()}
    ratio = {
        name: speed[name] * cores / consumed["small_prior" if name in ("codes", "flac, for a prior") else "small_vqvae"]
        for name in speed
    }
    table(
        [
            {
                "from": name,
                "seconds of audio per second and core": round(speed[name]),
                "times a step": round(ratio[name]),
            }
            for name in speed
        ]
    )
    finish(
        **machine(torch.get_num_threads(), device),
        cores=os.cpu_count(),
        loaded={name: round(value, 1) for name, value in speed.items()},
        consumed={name: round(value, 3) for name, value in consumed.items()},
        ratio={name: round(value, 1) for name, value in ratio.items()},
    )


if __name__ == "__main__":
    main()
