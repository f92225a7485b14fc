"""Reconstruction losses of the VQ-VAE, on the waveform and on the spectrum (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class STFT:
    """A short-time Fourier transform: centred, reflect-padded, with a periodic Hann window."""

    n_fft: int
    hop_length: int
    win_length: int

    def magnitude(self, audio: torch.Tensor) -> torch.Tensor:
        """Return magnitudes, `[B, T] -> [B, n_fft / 2 + 1, frames]`."""
        window = torch.hann_window(self.win_length, device=audio.device)
        return torch.stft(
            audio.float(), self.n_fft, self.hop_length, self.win_length, window, center=True, return_complex=True
        ).abs()


SPECTRAL_STFT = STFT(2048, 256, 1536)
MULTISPECTRAL_STFTS = (STFT(2048, 240, 1200), STFT(1024, 120, 600), STFT(512, 50, 240))
_SILENCE = 2e-3  # items whose spectrum has a smaller norm are left out of the spectral convergence


def item_norms(x: torch.Tensor) -> torch.Tensor:
    """Return the Frobenius norm of each item of a batch, `[B]`."""
    return x.flatten(1).norm(dim=1)


def spectral_distance(audio: torch.Tensor, target: torch.Tensor, stft: STFT = SPECTRAL_STFT) -> torch.Tensor:
    """Return the Frobenius norm of the difference of the magnitudes, averaged over the batch, `()`."""
    return item_norms(stft.magnitude(audio) - stft.magnitude(target)).mean()


def multispectral_distance(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Average `spectral_distance` over three resolutions, so that none of them is overfitted."""
    return torch.stack([spectral_distance(audio, target, stft) for stft in MULTISPECTRAL_STFTS]).mean()


def spectral_convergence(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the norm of the spectral error over that of the original's spectrum, averaged over the batch, `()`."""
    original = SPECTRAL_STFT.magnitude(target)
    error, norm = item_norms(original - SPECTRAL_STFT.magnitude(audio)), item_norms(original)
    return torch.where(norm > _SILENCE, error / norm.clamp_min(_SILENCE), 0.0).mean()


def l1_error(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean magnitude of the error, `()`."""
    return F.l1_loss(audio, target)


def l2_error(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean square of the error, `()`."""
    return F.mse_loss(audio, target)


def linf_error(audio: torch.Tensor, target: torch.Tensor, top_k: int) -> torch.Tensor:
    """Return the mean of the `top_k` largest squared errors of each item, `()`."""
    squared = (audio - target).flatten(1).square()
    return squared.topk(min(top_k, squared.shape[1]), dim=1).values.mean()
