"""Loudness of a piece, after ITU-R BS.1770, and the gain that brings it to a target without clipping."""

from __future__ import annotations

import math
from importlib import import_module
from typing import NamedTuple

import numpy as np
import soxr

PEAK_LIMIT = -1.0  # dB true peak, as EBU R 128 asks for
_OVERSAMPLING = 4  # BS.1770-5, annex 2
_SHORTEST_IN_S = 0.4  # a block of the measurement


class Gain(NamedTuple):
    """The gain for a piece in dB, its loudness before in LUFS, and whether the peak limit made the gain smaller."""

    decibels: float
    loudness: float
    is_limited: bool

    @property
    def factor(self) -> float:
        return 10 ** (self.decibels / 20)


def check_loudness(target: float | None) -> None:
    """Check a target, and that the package that measures loudness is there, before anything is exported.

    Raises:
        ValueError: the target is not between -70 and 0 LUFS.
        OSError: the package is missing.
    """
    if target is None:
        return
    if not -70 <= target <= 0:
        raise ValueError(f"loudness must be between -70 and 0 LUFS, not {target:g}; music is often published at -14.")
    try:
        import_module("pyloudnorm")
    except ImportError as error:
        raise OSError(
            "Measuring loudness needs the package pyloudnorm; install it with: pip install pyloudnorm"
        ) from error


def gain_to(target: float, samples: np.ndarray, sampling_rate: int) -> Gain:
    """Return the gain that brings `samples` `[T]` to an integrated loudness, or as close as the peak limit allows.

    Raises:
        ValueError: the piece is silent, or shorter than the 0.4 s of a block of the measurement.
    """
    if len(samples) <= _SHORTEST_IN_S * sampling_rate:
        raise ValueError(f"The piece is shorter than {_SHORTEST_IN_S} s and has no loudness; leave loudness out.")
    loudness = float(import_module("pyloudnorm").Meter(sampling_rate).integrated_loudness(samples.astype(np.float64)))
    if not math.isfinite(loudness):
        raise ValueError("The piece is silent and has no loudness; leave loudness out.")
    wanted, allowed = target - loudness, PEAK_LIMIT - true_peak(samples, sampling_rate)
    return Gain(min(wanted, allowed), loudness, allowed < wanted)


def true_peak(samples: np.ndarray, sampling_rate: int) -> float:
    """Return the true peak of `samples` `[T]` in dB, at four times the rate (BS.1770-5, annex 2); -inf for silence."""
    oversampled = soxr.resample(samples, sampling_rate, _OVERSAMPLING * sampling_rate, quality="HQ")
    peak = max(float(np.abs(oversampled).max(initial=0.0)), float(np.abs(samples).max(initial=0.0)))
    return 20 * math.log10(peak) if peak > 0 else -math.inf
