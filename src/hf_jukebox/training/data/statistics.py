"""Normalizers of the VQ-VAE's losses, measured on the recordings (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ...configuration_jukebox import JukeboxVQVAEConfig
from ...layers.losses import SPECTRAL_STFT, item_norms


@dataclass(frozen=True)
class DataStatistics:
    """Statistics of recordings.

    Attributes:
        l1: Mean magnitude of the samples, over all channels.
        l2: Variance of the samples, over all channels.
        spectral: Norm of the magnitude spectrogram of a mono chunk, averaged over the chunks.
        seconds: Length of the audio read, counted over all channels.
    """

    l1: float
    l2: float
    spectral: float
    seconds: float

    def put_into(self, config: JukeboxVQVAEConfig) -> None:
        """Write the statistics into a VQ-VAE's configuration."""
        config.l1_normalizer, config.l2_normalizer = self.l1, self.l2
        config.spectral_normalizer = self.spectral


def measure_statistics(chunks: Iterable[np.ndarray], sampling_rate: int, max_seconds: float = 600.0) -> DataStatistics:
    """Read chunks until `max_seconds` are reached, counted over all channels.

    Args:
        chunks: Audio of the chunks, float32 `[channels, T]` each; see [`AudioChunks.iter_channels`].

    Raises:
        ValueError: there are no chunks, or they are silent.
    """
    magnitude = total = squares = num_samples = 0.0
    norms: list[float] = []
    for chunk in chunks:
        samples = chunk.astype(np.float64)
        magnitude += np.abs(samples).sum()
        total += samples.sum()
        squares += np.square(samples).sum()
        num_samples += samples.size
        mono = torch.from_numpy(chunk.mean(axis=0))[None]  # [1, T]
        norms.append(item_norms(SPECTRAL_STFT.magnitude(mono)).item())
        if num_samples >= max_seconds * sampling_rate:
            break
    variance = squares / num_samples - (total / num_samples) ** 2 if num_samples else 0.0
    if not variance > 0:
        raise ValueError("The recordings are silent, so losses cannot be measured against them; use other songs.")
    return DataStatistics(
        float(magnitude / num_samples), float(variance), float(np.mean(norms)), num_samples / sampling_rate
    )
