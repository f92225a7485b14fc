"""The metrics of an evaluation, against values computed by hand or known from their standards."""

import math

import numpy as np
import pytest
import torch

from hf_jukebox.study.audio_metrics import (
    estimate_key,
    loudness,
    mel_distance,
    mel_filters,
    multi_resolution_stft,
    si_sdr,
    spectral_convergence_in_db,
    spectral_flux,
)
from hf_jukebox.study.set_metrics import frechet_distance, kernel_distance, unigram_entropy, vendi_score

RATE = 48000
AUDIO = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, RATE // 2))).float()


def tones(hertz: list[float], seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * each * time) for each in hertz) / len(hertz)


def test_spectral_convergence_is_the_relative_error_of_the_spectrum_in_decibels():
    # A spectrum that is 10 % too small has a relative error of 0.1, which is -20 dB; silence has 1, which is 0 dB.
    assert spectral_convergence_in_db(0.9 * AUDIO, AUDIO).tolist() == pytest.approx([-20, -20], abs=1e-3)
    assert spectral_convergence_in_db(0 * AUDIO, AUDIO).tolist() == pytest.approx([0, 0], abs=1e-4)


def test_the_multi_resolution_distance_of_a_scaled_recording_is_its_factor():
    # Convergence 0.5, and every log magnitude differs by log 2.
    assert multi_resolution_stft(0.5 * AUDIO, AUDIO).tolist() == pytest.approx([0.5 + math.log(2)] * 2, abs=1e-3)
    assert multi_resolution_stft(AUDIO, AUDIO).tolist() == [0, 0]


def test_si_sdr_ignores_the_scale_and_measures_orthogonal_noise():
    signal, noise = torch.tensor([[1.0, 1, -1, -1]]), torch.tensor([[1.0, -1, 1, -1]])
    assert si_sdr(3 * signal + 0.3 * noise, signal).item() == pytest.approx(20, abs=1e-4)
    assert si_sdr(0.01 * signal, signal).item() > 60


def test_the_mel_distance_of_a_scaled_recording_is_the_log_of_its_factor():
    assert mel_distance(0.1 * AUDIO, AUDIO, RATE).tolist() == pytest.approx([1, 1], abs=0.02)
    filters = mel_filters(RATE)
    assert filters.sum(1).tolist() == pytest.approx([1] * 80, abs=1e-5)
    centres = filters.argmax(1)
    assert (centres.diff() >= 0).all() and centres[-1] > 900


@pytest.mark.parametrize("rate", [44100, 48000, 22050])
def test_loudness_of_the_standards_reference_tone(rate):
    # ITU-R BS.1770: a sine of 997 Hz at full scale in one channel has -3.01 LUFS.
    tone = tones([997], 3, rate)
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(0.1 * tone, rate) == pytest.approx(-23.01, abs=0.05)
    # Silence is gated, and low frequencies count less.
    assert loudness(np.concatenate([tone, np.zeros(10 * rate)]), rate) == pytest.approx(-3.01, abs=0.4)
    assert loudness(tones([30], 3, rate), rate) < -6
    assert loudness(np.zeros(rate), rate) == -math.inf and loudness(np.zeros(10), rate) == -math.inf


@pytest.mark.parametrize(
    ("hertz", "key"),
    [
        ([261.6, 329.6, 392.0, 349.2, 440.0, 493.9, 293.7, 261.6, 392.0, 261.6], "C major"),
        ([440.0, 523.3, 659.3, 440.0, 220.0, 493.9, 587.3, 349.2, 415.3, 659.3], "A minor"),
        ([293.7, 370.0, 440.0, 392.0, 493.9, 554.4, 329.6, 293.7, 440.0, 587.3], "D major"),
    ],
)
def test_keys_of_scales_that_dwell_on_the_triad(hertz, key):
    assert estimate_key(tones(hertz, rate=22050), 22050) == key


def test_flux_is_highest_where_the_sound_changes():
    audio = np.concatenate([tones([440], 1), tones([1300], 1)])
    assert np.argmax(spectral_flux(audio, RATE)) == pytest.approx(200, abs=2)


def test_frechet_distance_of_known_gaussians():
    first = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])  # mean 0, covariance 2/3 I
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(first, first + np.array([3, 4])) == pytest.approx(25)
    # Twice as wide: tr(A + 4 A - 2 * 2 A) = tr A = 4/3.
    assert frechet_distance(first, 2 * first) == pytest.approx(4 / 3)
    # Against the definition, with the matrix root by eigenvalues.
    random = np.random.default_rng(0)
    a, b = random.normal(size=(30, 4)), random.normal(1, 2, (20, 4))
    covariances = np.cov(a.T), np.cov(b.T)
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_kernel_distance_by_hand_and_without_bias():
    # D = 1. Kernels (xy + 1)^3: within {0, 1}: k(0, 1) = 1; within {2, 3}: k = 7^3 = 343; across: 1, 1, 27, 64.
    first, second = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    assert kernel_distance(first, second) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)
    random = np.random.default_rng(0)
    distances = [kernel_distance(random.normal(size=(20, 5)), random.normal(size=(12, 5))) for _ in range(400)]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / 20 and min(distances) < 0


def test_vendi_score_counts_different_vectors():
    assert vendi_score(np.ones((5, 3))) == pytest.approx(1)
    assert vendi_score(np.eye(4)) == pytest.approx(4)
    assert vendi_score(np.repeat(np.eye(2), 3, axis=0)) == pytest.approx(2)


def test_unigram_entropy_of_known_shares():
    assert unigram_entropy(np.array([[0, 0], [1, 2]])) == pytest.approx(1.5)
    assert unigram_entropy(np.arange(8)) == pytest.approx(3)


def test_sets_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="at least 2 finite vectors"):
        frechet_distance(np.ones((1, 3)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="finite"):
        kernel_distance(np.full((3, 3), np.nan), np.ones((4, 3)))
