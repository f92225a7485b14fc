"""Reconstruction losses of signals with known errors."""

import math

import pytest
import torch

from hf_jukebox.layers import losses as reconstruction
from hf_jukebox.layers.losses import STFT


def noise(batch_size: int = 2, samples: int = 4096, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch_size, samples, generator=torch.Generator().manual_seed(seed))


def test_a_sine_peaks_in_its_bin() -> None:
    stft = STFT(n_fft=256, hop_length=64, win_length=256)
    time = torch.arange(4096) / 256
    magnitude = stft.magnitude(torch.sin(2 * math.pi * 16 * time)[None])
    assert magnitude.shape == (1, 129, 65)
    inner = magnitude[0, :, 4:-4]  # away from the reflections at both ends
    assert (inner.argmax(0) == 16).all()
    torch.testing.assert_close(inner[16], torch.full_like(inner[16], 64.0), rtol=1e-3, atol=0)  # half of sum(hann)


def test_errors_of_a_constant_difference() -> None:
    target = noise()
    audio = target + 0.5
    assert reconstruction.l1_error(audio, target).item() == pytest.approx(0.5, rel=1e-5)
    assert reconstruction.l2_error(audio, target).item() == pytest.approx(0.25, rel=1e-5)


def test_linf_is_the_mean_of_the_largest_squared_errors_of_each_item() -> None:
    target = torch.zeros(2, 10)
    audio = torch.zeros(2, 10)
    audio[0, :3] = torch.tensor([1.0, -3.0, 2.0])
    audio[1, 4] = 4.0
    assert reconstruction.linf_error(audio, target, top_k=2).item() == pytest.approx((9 + 4 + 16 + 0) / 4)
    assert reconstruction.linf_error(audio, target, top_k=99).item() == pytest.approx((9 + 4 + 1 + 16) / 20)


def test_spectral_distance_is_the_mean_of_the_items_norms() -> None:
    audio, target = noise(seed=0), noise(seed=1)
    stft = STFT(512, 50, 240)
    norms = [(stft.magnitude(a[None]) - stft.magnitude(b[None])).norm() for a, b in zip(audio, target, strict=True)]
    torch.testing.assert_close(reconstruction.spectral_distance(audio, target, stft), torch.stack(norms).mean())
    assert reconstruction.spectral_distance(audio, audio) == 0
    # A magnitude has no sign.
    assert reconstruction.spectral_distance(audio, -audio).item() == pytest.approx(0, abs=1e-3)


def test_multispectral_distance_averages_three_resolutions() -> None:
    audio, target = noise(seed=0), noise(seed=1)
    each = [
        reconstruction.spectral_distance(audio, target, STFT(*sizes))
        for sizes in ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
    ]
    torch.testing.assert_close(reconstruction.multispectral_distance(audio, target), sum(each) / 3)


def test_spectral_convergence_is_relative_and_skips_silence() -> None:
    target = noise()
    assert reconstruction.spectral_convergence(target / 2, target).item() == pytest.approx(0.5, rel=1e-4)
    target[0] = 0
    assert reconstruction.spectral_convergence(target + 0.0, target) == 0
    assert reconstruction.spectral_convergence(noise() / 2, target).item() == pytest.approx(0.25, rel=1e-4)
