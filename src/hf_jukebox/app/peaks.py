"""Peaks of a recording, from which the page draws its waveform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..audio import AudioInfo, iter_audio

PER_SECOND = 20


def file_peaks(path: Path, info: AudioInfo) -> list[int]:
    """Return the peaks of a sound file, from 0 to 100, `PER_SECOND` of them.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return list(_peaks(iter_audio(path, info.sampling_rate, info=info), info.sampling_rate))


def pcm_peaks(samples: np.ndarray, sampling_rate: int) -> list[int]:
    """Return the peaks of int16 samples `[T]`, from 0 to 100."""
    return list(_peaks([samples.astype(np.float32) / 32768], sampling_rate))


def samples_before(peak: int, sampling_rate: int) -> int:
    """Return the first sample of a peak."""
    return peak * sampling_rate // PER_SECOND


def _peaks(blocks: Iterable[np.ndarray], sampling_rate: int) -> Iterator[int]:
    rest, done, count = np.zeros(0, np.float32), 0, 0
    for block in blocks:
        rest = np.concatenate([rest, np.abs(block)])
        while len(rest) >= (size := samples_before(count + 1, sampling_rate) - done):
            yield _percent(rest[:size])
            rest, done, count = rest[size:], done + size, count + 1
    if len(rest):
        yield _percent(rest)


def _percent(samples: np.ndarray) -> int:
    return min(round(100 * float(samples.max(initial=0))), 100)
