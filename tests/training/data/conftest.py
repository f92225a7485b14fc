"""Songs of a few seconds on disk, and a small VQ-VAE whose codes differ between them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hf_jukebox import JukeboxVQVAE, JukeboxVQVAEConfig

RATE = 4000


def tones(seconds: float, rate: int, seed: int, channels: int = 2) -> np.ndarray:
    """Return chords and noise that change over time, `[T, channels]`."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitches = rng.uniform(100, 800, (channels, 3))
    sound = np.stack([np.sin(2 * np.pi * np.outer(pitch, time) * (1 + time / 50)).mean(0) for pitch in pitches], axis=1)
    return (0.4 * sound + 0.1 * rng.standard_normal(sound.shape)).astype(np.float32)


@pytest.fixture
def write_song(tmp_path: Path) -> Callable[..., Path]:
    """Writer of songs into tmp_path/songs, in the format of their suffix."""

    def write(name: str, seconds: float = 2.0, rate: int = RATE, seed: int = 0, channels: int = 2) -> Path:
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tones(seconds, rate, seed, channels), rate)
        return path

    return write


@pytest.fixture
def songs(tmp_path: Path, write_song: Callable[..., Path]) -> Path:
    """Folder of ten stereo songs of 2.0 to 3.8 s, with artists, genres and lyrics."""
    rows = ["file_name,artist,genre,lyrics"]
    for number in range(10):
        write_song(f"song_{number}.wav", 2 + 0.2 * number, seed=number)
        rows.append(f"song_{number}.wav,Artist {number % 3},Genre {number % 2},words of song {number} and more of them")
    (tmp_path / "songs" / "metadata.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "songs"


def make_vqvae(seed: int = 0) -> JukeboxVQVAE:
    config = JukeboxVQVAEConfig.from_preset("tiny_vqvae", sampling_rate=RATE, downs_t=[3, 1, 1])  # hops 8, 16, 32
    torch.manual_seed(seed)
    vqvae = JukeboxVQVAE(config).eval()
    with torch.no_grad():
        sound = torch.from_numpy(tones(4, RATE, 99, 1)[:, 0])[None]
        for encoder, quantizer in zip(vqvae.encoders, vqvae.quantizers, strict=True):
            rows = encoder(sound[:, None])[0].T
            quantizer.codebook.copy_(rows[torch.randperm(len(rows))[: config.codebook_size]])
    return vqvae


@pytest.fixture(scope="session")
def vqvae() -> JukeboxVQVAE:
    return make_vqvae()


@pytest.fixture(scope="session")
def other_vqvae() -> JukeboxVQVAE:
    return make_vqvae(seed=1)
