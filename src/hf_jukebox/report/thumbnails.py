"""Small pictures of a recording, as text to embed in a page.

They are grey; the page colours them for light and dark themes.
"""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile
from PIL import Image

from ..audio import audio_info

_COLUMNS_PER_BAR, _BANDS = 3, 96  # of a spectrogram, under a waveform of bars
_WINDOW = 2048
_LOWEST_HZ, _HIGHEST_HZ = 40.0, 16000.0
_RANGE_DB = 70.0
_WEBP_QUALITY = 70


@dataclass(frozen=True)
class AudioPicture:
    """Waveform and spectrogram of a recording.

    Attributes:
        duration: Duration in seconds.
        bars: Number of bars of the waveform.
        waveform: SVG path in a box of `bars` x 100.
        spectrogram: Data URI; time from left to right, mel bands from bottom to top, louder is brighter.
    """

    duration: float
    bars: int
    waveform: str
    spectrogram: str


def render_audio(path: str | os.PathLike[str], bars: int) -> AudioPicture:
    """Draw a sound file, reading one column of the picture at a time, so that memory does not grow with its length.

    Args:
        bars: Number of bars of the waveform.

    Raises:
        OSError, ValueError: there is no audio at `path`.
    """
    info = audio_info(path)
    bands = _MelBands(info.sampling_rate)
    columns = bars * _COLUMNS_PER_BAR
    edges = np.linspace(0, info.frames, columns + 1).astype(int)
    peaks, energies = np.zeros(columns), np.zeros((columns, _BANDS))
    # Opened here, because its name need not be UTF-8.
    with open(path, "rb") as opened, soundfile.SoundFile(opened) as file:
        for column, (start, end) in enumerate(pairwise(edges)):
            before = max(start - _WINDOW // 2, 0)
            file.seek(before)
            samples = file.read(end + _WINDOW // 2 - before, dtype="float32", always_2d=True).mean(axis=1)
            peaks[column] = np.abs(samples[start - before : max(end, start + 1) - before]).max(initial=0)
            energies[column] = bands.energy(samples)
    return AudioPicture(info.duration_in_s, bars, _waveform(peaks), _spectrogram(energies))


def data_uri(picture: np.ndarray) -> str:
    """Encode a grey picture, uint8 `[rows, columns]`."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "WEBP", quality=_WEBP_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


class _MelBands:
    """Energy of sound in bands of equal width on the mel scale."""

    def __init__(self, sampling_rate: int) -> None:
        lowest, highest = (_mel(hz) for hz in (_LOWEST_HZ, min(_HIGHEST_HZ, sampling_rate / 2)))
        hertz = 700 * np.expm1(np.linspace(lowest, highest, _BANDS + 1) / 1127)
        self._edges = hertz / sampling_rate * _WINDOW  # in bins of the transform, which a low band does not fill
        # Music has less energy at high frequencies; 3 dB per two octaves compensate some of it.
        self._weights = np.sqrt((hertz[1:] + hertz[:-1]) / 2000)
        self._window = np.hanning(_WINDOW).astype(np.float32)

    def energy(self, samples: np.ndarray) -> np.ndarray:
        """Return the energy `[_BANDS]` of samples `[T]`, averaged over up to four windows in them."""
        samples = np.pad(samples, (0, max(_WINDOW - len(samples), 0)))
        starts = np.unique(np.linspace(0, len(samples) - _WINDOW, 4).astype(int))
        frames = np.stack([samples[start : start + _WINDOW] for start in starts]) * self._window
        power = (np.abs(np.fft.rfft(frames)) ** 2).mean(axis=0)
        below = np.concatenate([[0.0], np.cumsum(power)])
        return np.diff(np.interp(self._edges, np.arange(len(below)), below)) * self._weights


def _mel(hertz: float) -> float:
    """Convert hertz to mel by O'Shaughnessy's formula (Speech Communication, 1987)."""
    return 1127 * float(np.log1p(hertz / 700))


def _waveform(peaks: np.ndarray) -> str:
    """Return an SVG path of vertical bars, each as tall as the peak of its columns."""
    heights = peaks.reshape(-1, _COLUMNS_PER_BAR).max(axis=1)
    heights = np.maximum(heights / max(heights.max(), 1e-6) * 96, 2)  # silence is a thin line
    return "".join(f"M{bar}.2 {50 - height / 2:.0f}h.6v{height:.0f}h-.6z" for bar, height in enumerate(heights))


def _spectrogram(energies: np.ndarray) -> str:
    decibels = 10 * np.log10(energies.T[::-1] + 1e-9)  # [_BANDS, columns]
    brightness = np.clip((decibels - decibels.max()) / _RANGE_DB + 1, 0, 1) ** 1.3
    return data_uri(np.rint(brightness * 255).astype(np.uint8))
