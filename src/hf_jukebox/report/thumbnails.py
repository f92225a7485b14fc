"""Small pictures of a recording, as text to embed in a page.

They are grey; the page colours them for light and dark themes.
"""

from __future__ import annotations

import base64
import io
import math
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import soundfile
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from ..audio import audio_info
from ..audio.k_weighting import k_weights

_COLUMNS_PER_BAR, _BANDS = 3, 108  # of a spectrogram, under a waveform of bars
_WINDOW = 2048
_LONG_WINDOW_IN_S = 0.19  # for low bands, which are narrower than a bin of the other window
_LOWEST_HZ, _HIGHEST_HZ = 36.0, 16000.0
_RANGE_DB = 70.0
_WEBP_QUALITY = 70
_COLUMNS_IN_MEMORY, _SAMPLES_IN_MEMORY = 32, 2**18  # read and transformed at a time


@dataclass(frozen=True)
class AudioPicture:
    """Waveform and spectrogram of a recording.

    Attributes:
        duration: Duration in seconds.
        bars: Number of bars of the waveform.
        waveform: SVG path in a box of `bars` x 100.
        spectrogram: Data URI; time from left to right, a band per semitone or so from bottom to top, louder is bright.
        loudness: Loudness in LUFS, after BS.1770-5 with the picture's columns as blocks; None for silence.
    """

    duration: float
    bars: int
    waveform: str
    spectrogram: str
    loudness: float | None


@dataclass(frozen=True)
class SurprisePicture:
    """Curve of the bits per code over time.

    Attributes:
        bars: Width of the box of the path, which is 100 high.
        curve: SVG path of the curve, from 0 bits at the bottom to `highest` at the top.
        mean: Mean bits per code.
        highest: Highest point of the curve in bits per code.
    """

    bars: int
    curve: str
    mean: float
    highest: float


def draw_surprise(bits: np.ndarray, bars: int) -> SurprisePicture:
    """Draw the bits of codes `[T]` as a curve of at most `bars` steps."""
    steps = np.array_split(bits.astype(np.float64), min(bars, len(bits)))
    means = np.array([step.mean() for step in steps])
    highest = max(float(means.max()), 1e-6)
    places = np.linspace(0, bars, len(means) + 1)
    heights = 100 - means / highest * 100
    curve = "".join(f"V{height:.0f}H{end:.4g}" for height, end in zip(heights, places[1:], strict=True))
    return SurprisePicture(bars, f"M0 {heights[0]:.0f}{curve}", float(bits.mean(dtype=np.float64)), highest)


def render_audio(path: str | os.PathLike[str], bars: int) -> AudioPicture:
    """Draw a sound file, reading some columns of the picture at a time, so that memory does not grow with its length.

    Args:
        bars: Number of bars of the waveform.

    Raises:
        OSError, ValueError: there is no audio at `path`.
    """
    info = audio_info(path)
    bands = _bands(info.sampling_rate)
    columns = bars * _COLUMNS_PER_BAR
    edges = np.linspace(0, info.frames, columns + 1).astype(int)
    peaks, energies, loudness = np.zeros(columns), np.zeros((columns, _BANDS)), np.zeros(columns)
    width = max(info.frames // columns, 1)
    block = min(max(_SAMPLES_IN_MEMORY // width, 1), _COLUMNS_IN_MEMORY)
    # Opened here, because its name need not be UTF-8.
    with open(path, "rb") as opened, soundfile.SoundFile(opened) as file:
        for first in range(0, columns, block):
            these, borders = slice(first, first + block), edges[first : first + block + 1]
            before = max(borders[0] - bands.long_window // 2, 0)
            file.seek(before)
            samples = file.read(borders[-1] + bands.long_window // 2 - before, dtype="float32", always_2d=True)
            samples, borders = samples.mean(axis=1), borders - before
            peaks[these] = np.maximum.reduceat(np.abs(samples[: max(borders[-1], borders[-2] + 1)]), borders[:-1])
            energies[these], loudness[these] = bands.measure(samples, borders)
    picture = _spectrogram(energies)
    return AudioPicture(info.duration_in_s, bars, _waveform(peaks), picture, _gated_loudness(loudness))


def data_uri(picture: np.ndarray) -> str:
    """Encode a grey picture, uint8 `[rows, columns]`."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "WEBP", quality=_WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


class _Bands:
    """Energy of sound in bands of equal width on a logarithmic scale, as notes are, and its loudness."""

    def __init__(self, sampling_rate: int) -> None:
        hertz = np.geomspace(_LOWEST_HZ, min(_HIGHEST_HZ, sampling_rate / 2), _BANDS + 1)
        self.long_window = max(2 ** round(math.log2(sampling_rate * _LONG_WINDOW_IN_S)), _WINDOW)
        edges = hertz / sampling_rate  # in cycles per sample
        is_low = np.diff(edges) * _WINDOW < 1
        # Music has less energy at high frequencies; 3 dB per two octaves compensate some of it.
        weights = np.sqrt((hertz[1:] + hertz[:-1]) / 2000)
        low = _shares(edges * self.long_window, self.long_window) * np.where(is_low, weights, 0)
        high = _shares(edges * _WINDOW, _WINDOW) * np.where(is_low, 0, weights)
        # Each bin but the first and last stands for two.
        loudness = 2 * k_weights(np.fft.rfftfreq(_WINDOW, 1 / sampling_rate))
        self._low, self._high, self._k_weights = (each.astype(np.float32) for each in (low, high, loudness))

    def measure(self, samples: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the energies `[N, _BANDS]` and K-weighted mean squares `[N]` of samples `[T]` between N + 1 edges.

        The samples around them fill the windows.
        """
        power = _power(samples, edges, _WINDOW, 4)
        low = _power(samples, edges, self.long_window, 1)
        return power @ self._high + low @ self._low, power @ self._k_weights


@cache
def _bands(sampling_rate: int) -> _Bands:
    return _Bands(sampling_rate)


def _shares(edges: np.ndarray, window: int) -> np.ndarray:
    """Return the share `[window // 2 + 1, N]` of each bin in each of the bands between N + 1 edges, given in bins."""
    bins = np.arange(window // 2 + 1)[:, None]  # a bin reaches half its width to both sides of its frequency
    return np.clip(np.minimum(bins + 0.5, edges[1:]) - np.maximum(bins - 0.5, edges[:-1]), 0, None)


def _power(samples: np.ndarray, edges: np.ndarray, window: int, most: int) -> np.ndarray:
    """Return the power spectra `[N, window // 2 + 1]` between N + 1 edges, each averaged over up to `most` windows.

    The sum of the bins of one is about half the mean square.
    """
    first = np.maximum(edges[:-1] - window // 2, 0)
    last = np.minimum(edges[1:] + window // 2, len(samples))
    spare = np.maximum(last - first - window, 0)[:, None]
    count = min(most, 1 + int(spare.max()) // (window // 8))  # more of them would overlap almost entirely
    starts = first[:, None] + (spare * (np.linspace(0, 1, count) if count > 1 else 0.5)).astype(int)  # [N, count]
    shape, power_kept = _hann_window(window)
    frames = sliding_window_view(np.pad(samples, (0, window)), window)[starts] * shape  # [N, count, window]
    frames *= np.arange(window) < (last - first)[:, None, None]
    return (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=1) / (window * power_kept)


@cache
def _hann_window(size: int) -> tuple[np.ndarray, float]:
    """Return a window `[size]` and the sum of its squares."""
    shape = np.hanning(size).astype(np.float32)
    return shape, float((shape**2).sum())


def _gated_loudness(mean_squares: np.ndarray) -> float | None:
    """Return the loudness of blocks in LUFS, without those that are silent or 10 LU quieter than the rest."""
    loud = mean_squares[mean_squares > 10 ** ((-70 + 0.691) / 10)]
    if not loud.size:
        return None
    loud = loud[loud > loud.mean() / 10]
    return round(10 * float(np.log10(loud.mean())) - 0.691, 1)


def _waveform(peaks: np.ndarray) -> str:
    """Return an SVG path of vertical bars, each as tall as the peak of its columns."""
    heights = peaks.reshape(-1, _COLUMNS_PER_BAR).max(axis=1)
    heights = np.maximum(heights / max(heights.max(), 1e-6) * 96, 2)  # silence is a thin line
    return "".join(f"M{bar}.2 {50 - height / 2:.0f}h.6v{height:.0f}h-.6z" for bar, height in enumerate(heights))


def _spectrogram(energies: np.ndarray) -> str:
    decibels = 10 * np.log10(energies.T[::-1] + 1e-15)  # [_BANDS, columns]
    brightness = np.clip((decibels - decibels.max()) / _RANGE_DB + 1, 0, 1) ** 1.3
    return data_uri(np.rint(brightness * 255).astype(np.uint8))
