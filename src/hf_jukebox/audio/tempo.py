"""Tempo of a piece, estimated from its onsets."""

from __future__ import annotations

import numpy as np

_HOPS_PER_S, _SLOWEST, _FASTEST = 100, 60.0, 200.0  # beats per minute
_PREFERRED, _OCTAVES = 120.0, 0.9  # the middle and the width of the tempos that people tap to
_SHORTEST_IN_S = 4.0


def estimate_tempo(samples: np.ndarray, sampling_rate: int) -> float | None:
    """Return the tempo of `samples` `[T]` in beats per minute; None for a piece without beats, or of less than 4 s.

    It is the period at which the onsets, the rise of the spectrum from one frame to the next, repeat themselves most,
    weighted towards 120 beats per minute on a logarithmic scale (Ellis, Beat Tracking by Dynamic Programming, 2007).
    """
    if len(samples) < _SHORTEST_IN_S * sampling_rate:
        return None
    onsets = _onsets(samples, round(sampling_rate / _HOPS_PER_S))
    onsets = onsets - onsets.mean()
    power = np.abs(np.fft.rfft(onsets, 2 * len(onsets))) ** 2
    repeats = np.fft.irfft(power)[: len(onsets)]
    if not repeats[0] > 0:
        return None
    lags = np.arange(int(60 * _HOPS_PER_S / _FASTEST), min(int(60 * _HOPS_PER_S / _SLOWEST) + 1, len(onsets) - 1))
    tempos = 60 * _HOPS_PER_S / lags
    weights = np.exp(-0.5 * (np.log2(tempos / _PREFERRED) / _OCTAVES) ** 2)
    best = int(lags[np.argmax(repeats[lags] * weights)])
    if repeats[best] < 0.1 * repeats[0]:
        return None
    # The top of a parabola through the neighbours lies between two frames.
    before, at, after = repeats[best - 1 : best + 2]
    curve = before - 2 * at + after
    shift = 0.5 * (before - after) / curve if curve < 0 else 0.0
    return float(60 * _HOPS_PER_S / (best + shift))


def _onsets(samples: np.ndarray, hop: int) -> np.ndarray:
    """Return the rise of the spectrum from frame to frame, `[frames]`."""
    window, size = np.hanning(4 * hop), 4 * hop
    rises, before = [], None
    for start in range(0, len(samples) - size + 1, hop):
        spectrum = np.log1p(100 * np.abs(np.fft.rfft(samples[start : start + size] * window)))
        if before is not None:
            rises.append(float(np.maximum(spectrum - before, 0).sum()))
        before = spectrum
    return np.array(rises)
