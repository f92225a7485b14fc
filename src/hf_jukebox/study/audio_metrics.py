"""Distances of a recording from its reconstruction, and the loudness and key of a recording."""

from __future__ import annotations

import numpy as np
import torch

from ..audio.k_weighting import k_weights
from ..layers.losses import MULTISPECTRAL_STFTS, SPECTRAL_STFT, STFT, item_norms

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

_SMALL = 1e-7
_MEL_STFT, _MEL_BANDS = STFT(2048, 512, 2048), 80
# How well each pitch class fits a major and a minor key (Krumhansl and Kessler, Psychological Review, 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def spectral_convergence_in_db(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 20 log10 of the norm of the spectral error over that of the original's spectrum, `[B, T] -> [B]`.

    The formula is that of Arık et al. (IEEE Signal Processing Letters, 2018), with the STFT of the spectral loss.
    """
    original = SPECTRAL_STFT.magnitude(target)
    error = item_norms(original - SPECTRAL_STFT.magnitude(audio)) / item_norms(original).clamp_min(_SMALL)
    return 20 * error.clamp_min(_SMALL).log10()


def multi_resolution_stft(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the multi-resolution STFT distance, `[B, T] -> [B]`.

    Per resolution it is the spectral convergence plus the mean difference of the log magnitudes; three resolutions are
    averaged (Yamamoto, Song and Kim, ICASSP 2020, equations 3 to 6).
    """
    distances = []
    for stft in MULTISPECTRAL_STFTS:
        found, wanted = stft.magnitude(audio).clamp_min(_SMALL), stft.magnitude(target).clamp_min(_SMALL)
        convergence = item_norms(wanted - found) / item_norms(wanted)
        distances.append(convergence + (wanted.log() - found.log()).abs().flatten(1).mean(1))
    return torch.stack(distances).mean(0)


def si_sdr(audio: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the scale-invariant ratio of signal to distortion in dB, `[B, T] -> [B]`.

    The target is scaled to the audio by least squares: 10 log10 of |a t|^2 / |a t - x|^2 with a = x.t / t.t (Le Roux et
    al., ICASSP 2019, equation 5).
    """
    audio, target = audio.double(), target.double()
    scale = (audio * target).sum(1) / target.square().sum(1).clamp_min(_SMALL)
    projected = scale[:, None] * target
    signal, noise = projected.square().sum(1), (projected - audio).square().sum(1)
    return 10 * ((signal + 1e-12) / (noise + 1e-12)).log10()


def mel_distance(audio: torch.Tensor, target: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Return the mean difference of log10 mel magnitudes, `[B, T] -> [B]`.

    It is the mel distance of Kumar et al. (NeurIPS 2023, appendix B) at one resolution: 80 bands, windows of 2048.
    """
    bands = mel_filters(sampling_rate)
    found, wanted = (
        (bands @ _MEL_STFT.magnitude(each)).clamp_min(1e-5).log10() for each in (audio.float(), target.float())
    )
    return (found - wanted).abs().flatten(1).mean(1)


def mel_filters(sampling_rate: int) -> torch.Tensor:
    """Return triangles of equal width in mel by O'Shaughnessy's formula, `[80, 1025]`, each of sum 1."""
    highest = 1127 * np.log1p(sampling_rate / 2 / 700)
    edges = 700 * np.expm1(np.linspace(0.0, highest, _MEL_BANDS + 2) / 1127)
    hertz = np.linspace(0, sampling_rate / 2, _MEL_STFT.n_fft // 2 + 1)
    rising = (hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hertz) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    nearest = np.abs(hertz - edges[1:-1, None]).argmin(axis=1)  # narrow bands may lie between two frequencies
    triangles[np.arange(_MEL_BANDS), nearest] += 1e-3
    return torch.from_numpy(triangles / triangles.sum(axis=1, keepdims=True)).float()


def loudness(audio: np.ndarray, sampling_rate: int) -> float:
    """Return the integrated loudness of `audio` `[T]` in LUFS; minus infinity for silence.

    K weighting, blocks of 400 ms that overlap by three quarters, and both gates follow ITU-R BS.1770-5, annex 1. The
    filters are applied to the spectrum of each block, by their response at 48 kHz.
    """
    size = round(0.4 * sampling_rate)
    audio = np.pad(np.asarray(audio, np.float64), (0, max(size - len(audio), 0)))
    blocks = np.lib.stride_tricks.sliding_window_view(audio, size)[:: max(size // 4, 1)]
    gains = k_weights(np.fft.rfftfreq(size, 1 / sampling_rate))
    spectra = np.abs(np.fft.rfft(blocks, axis=1)) ** 2
    doubled = np.full(spectra.shape[1], 2.0)
    doubled[0] = 1.0
    if size % 2 == 0:
        doubled[-1] = 1.0
    power = (spectra * gains * doubled).sum(axis=1) / size**2  # mean square, by Parseval's theorem
    power = power[_lufs(power) > -70]
    power = power[_lufs(power) > _lufs(power.mean()) - 10] if len(power) else power
    return float(_lufs(power.mean())) if len(power) else -np.inf


def estimate_key(audio: np.ndarray, sampling_rate: int) -> str:
    """Estimate the key of `audio` `[T]`, such as "C major" or "A minor".

    The energy of each pitch class between 55 and 1760 Hz is correlated with the profiles of Krumhansl and Kessler for
    all 24 keys (Krumhansl, Cognitive Foundations of Musical Pitch, 1990, chapter 4). Relative and parallel keys are
    often confused.
    """
    size = 2 ** round(np.log2(0.4 * sampling_rate))
    audio = np.pad(np.asarray(audio, np.float64), (0, max(size - len(audio), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[:: size // 2] * np.hanning(size)
    magnitude = np.abs(np.fft.rfft(frames, axis=1)).mean(axis=0)
    hertz = np.fft.rfftfreq(size, 1 / sampling_rate)
    heard = (hertz >= 55) & (hertz <= 1760)
    classes = np.round(12 * np.log2(hertz[heard] / 440) + 9).astype(int) % 12
    chroma = np.bincount(classes, magnitude[heard], minlength=12)
    scores = {
        f"{name} {mode}": np.corrcoef(np.roll(profile, tonic), chroma)[0, 1]
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic, name in enumerate(PITCH_CLASSES)
    }
    return max(scores, key=lambda key: np.nan_to_num(scores[key], nan=-1.0))


def spectral_flux(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Return the change of the log spectrum at every 5 ms of `audio` `[T]`, `[frames]`."""
    stft = STFT(512, round(0.005 * sampling_rate), 512)
    logs = torch.log10(stft.magnitude(torch.from_numpy(np.asarray(audio, np.float32))[None])[0] + 1e-4)
    return torch.cat([torch.zeros(1), logs.diff(dim=1).abs().mean(dim=0)]).numpy()


def _lufs(power: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -0.691 + 10 * np.log10(power)
