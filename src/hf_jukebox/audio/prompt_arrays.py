"""Arrays that users pass as prompts: conversion, the axis of the channels, and the songs of a batch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .io import on_cpu

# Correlations of samples or of spectra above which two rows are treated as the channels of one recording. Measured on
# five seconds each of 40 pieces of music: all are recognised, and 2 of the 780 pairs of pieces are mistaken for stereo.
_STEREO_CORRELATION, _STEREO_SPECTRAL_CORRELATION = 0.3, 0.9
_FRAME, _MAX_FRAMES = 2048, 256
_MAX_CHANNELS = 64


def to_array(samples: Any) -> np.ndarray:
    """Convert samples to an array on the CPU.

    Raises:
        ValueError: they are not an array, or empty.
    """
    samples = on_cpu(samples)
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise ValueError("The samples of a prompt are not an array; give numpy.array(samples, 'float32').") from error
    if isinstance(samples, list | tuple) and array.dtype.kind in "iu":
        array = array.astype(np.float32)
    if array.size == 0:
        shape = list(array.shape)
        raise ValueError(f"A prompt has no samples: its shape is {shape}; leave audio out to sample without a prompt.")
    return array


def channels_first(samples: np.ndarray) -> np.ndarray:
    """Return one recording as `[T]` or `[C, T]`; the shorter of two dimensions are the channels.

    Raises:
        ValueError: the array cannot be one recording.
    """
    if samples.ndim == 3 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or min(samples.shape) > _MAX_CHANNELS:
        raise ValueError(
            f"One prompt must be [T] or [channels, T], not {list(samples.shape)}; give several as a list or as an "
            "array [B, T]."
        )
    return samples if samples.shape[0] <= samples.shape[1] else samples.T


def split_songs(samples: np.ndarray) -> list[np.ndarray]:
    """Return the recordings in an array without a rate: `[T]`, `[B, T]`, `[B, C, T]` or `[T, C]`.

    Raises:
        ValueError: the array has another shape, or two rows that look like the channels of one recording.
    """
    if samples.ndim == 3:
        return [channels_first(song) for song in samples]
    if samples.ndim != 2:
        return [channels_first(samples)]
    if samples.shape[0] > samples.shape[1]:  # no batch has more songs than samples per song
        return [channels_first(samples)]
    if len(samples) == 2:
        _check_not_stereo(samples)
    return list(samples)


def _check_not_stereo(rows: np.ndarray) -> None:
    """Refuse two rows that look like left and right; warn about other pairs, which are treated as two songs."""
    remedy = "give stereo as samples[None], [1, 2, T], and two songs as a list of two"
    left, right = rows.astype(np.float64)
    if (
        _correlation(left, right) > _STEREO_CORRELATION
        or _correlation(_spectra(left), _spectra(right)) > _STEREO_SPECTRAL_CORRELATION
    ):
        raise ValueError(
            f"The two rows of a prompt {list(rows.shape)} are alike, as the channels of one recording are, but rows "
            f"are songs: {remedy}."
        )
    warnings.warn(f"A prompt {list(rows.shape)} is treated as two songs; {remedy}.", UserWarning, stacklevel=6)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the absolute correlation of two rows, 0 to 1; 0 if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return abs(float((a * b).sum())) / size if size > 0 else 0.0


def _spectra(samples: np.ndarray) -> np.ndarray:
    """Return the logarithmic spectra of the first seconds, concatenated."""
    frames = samples[: min(len(samples) // _FRAME, _MAX_FRAMES) * _FRAME].reshape(-1, _FRAME)
    magnitudes = np.abs(np.fft.rfft(frames * np.hanning(_FRAME)))
    return np.log(magnitudes + 1e-3).ravel() if magnitudes.size else np.zeros(1)
