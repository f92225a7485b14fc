import sys

import numpy as np
import pyloudnorm
import pytest
from helpers.refusals import refusal

from hf_jukebox.audio.loudness import PEAK_LIMIT, check_loudness, gain_to, true_peak

RATE = 48000


def tone(amplitude: float, frequency: float = 997.0, phase: float = 0.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(3 * RATE) / RATE + phase)).astype(np.float32)


def test_a_sine_of_full_scale_has_the_loudness_that_the_recommendation_gives() -> None:
    gain = gain_to(-23, tone(1.0), RATE)
    assert gain.loudness == pytest.approx(-3.01, abs=0.05)  # BS.1770: 0 dB at 997 Hz in one channel
    assert gain.decibels == pytest.approx(-19.99, abs=0.05) and not gain.is_limited


def test_a_piece_is_brought_to_the_target_or_as_close_as_its_true_peak_allows() -> None:
    quiet = tone(0.05)
    gain = gain_to(-14, quiet, RATE)
    loudness = pyloudnorm.Meter(RATE).integrated_loudness((quiet * gain.factor).astype(np.float64))
    assert loudness == pytest.approx(-14, abs=0.01)
    spiky = tone(0.05)
    spiky[RATE] = 0.9
    limited = gain_to(-14, spiky, RATE)
    assert limited.is_limited
    assert true_peak(spiky * np.float32(limited.factor), RATE) == pytest.approx(PEAK_LIMIT, abs=0.01)


def test_peaks_between_the_samples_count() -> None:
    between = tone(1.0, RATE / 4, np.pi / 4)  # no sample exceeds 0.7071
    assert np.abs(between).max() < 0.708
    assert true_peak(between, RATE) == pytest.approx(0, abs=0.2)


def test_what_has_no_loudness_is_refused() -> None:
    assert "silent" in refusal(lambda: gain_to(-14, np.zeros(RATE, np.float32), RATE))
    assert "shorter than 0.4 s" in refusal(lambda: gain_to(-14, tone(0.5)[: RATE // 10], RATE))


def test_a_missing_package_and_an_impossible_target_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "between -70 and 0" in refusal(lambda: check_loudness(3))
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    assert "install it with: pip install pyloudnorm" in refusal(lambda: check_loudness(-14))
    check_loudness(None)
