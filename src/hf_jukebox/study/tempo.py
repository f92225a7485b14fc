"""Tempo of a recording with a steady beat, using numpy only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

SLOWEST_BPM, FASTEST_BPM = 60.0, 180.0

_FRAMES_PER_S = 100
_TYPICAL_BPM = 110.0


def onset_strength(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Return the onset strength `[frames]`, 100 per second: the sum over 24 bands of rises of the log magnitude."""
    window = 2 ** round(np.log2(0.046 * sampling_rate))
    hop = sampling_rate / _FRAMES_PER_S
    starts = np.round(np.arange(0, len(audio) - window, hop)).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(audio, window)[starts] * np.hanning(window)
    magnitude = np.abs(np.fft.rfft(frames, axis=1))  # [frames, window / 2 + 1]
    edges = np.geomspace(40, 0.49 * sampling_rate, 25) * window / sampling_rate
    edges = np.maximum.accumulate(np.round(edges).astype(int))
    bands = np.stack([magnitude[:, low : max(high, low + 1)].mean(1) for low, high in pairwise(edges)], 1)
    level = np.log1p(100 * bands / (bands.max() + 1e-9))
    return np.maximum(0, np.diff(level, axis=0)).sum(1)


def estimate_tempo(audio: np.ndarray, sampling_rate: int) -> float:
    """Estimate the beats per minute of `audio` `[T]`, between 60 and 180.

    A tempo is scored by the autocorrelation of the onset strength at its beat and the beat's multiples up to a bar,
    with a mild preference for tempi near 110 bpm. The octave (half or double tempo) remains ambiguous.

    Raises:
        ValueError: if the audio is not [T], shorter than 2 s, or has no onsets.
    """
    if audio.ndim != 1 or len(audio) < 2 * sampling_rate:
        raise ValueError(f"audio must be [T] with at least 2 s at {sampling_rate} Hz, got the shape {audio.shape}.")
    strength = onset_strength(np.asarray(audio, dtype=np.float64), sampling_rate)
    strength = strength - strength.mean()
    size = 2 * len(strength)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(strength, size)) ** 2)[: len(strength)]
    if not correlation[0] > 1e-6:
        raise ValueError("audio has no onsets, so it has no tempo.")
    correlation /= correlation[0] * (
        1 - np.arange(len(strength)) / len(strength)
    )  # unbiased: fewer pairs at longer lags

    tempi = np.geomspace(SLOWEST_BPM, FASTEST_BPM, 600)
    beat = 60 / tempi * _FRAMES_PER_S  # frames per beat, [600]
    lags = beat[:, None] * np.arange(1, 5)
    inside = lags < 0.75 * len(strength)
    at_lags = np.interp(lags, np.arange(len(correlation)), correlation)
    score = (at_lags * inside).sum(1) / inside.sum(1)
    preference = np.exp(-0.5 * (np.log2(tempi / _TYPICAL_BPM) / 0.9) ** 2)
    return float(tempi[np.argmax(score * preference)])
