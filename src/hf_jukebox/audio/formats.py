"""Audio files of every format that libsndfile writes, with comment fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from unidecode import unidecode

from .io import to_pcm

_BLOCK = 2**16  # samples; libsndfile's Vorbis encoder fails on very long blocks


class _Format(NamedTuple):
    """A format, its subtype, and the sampling rates that it has; any for an empty tuple."""

    name: str
    subtype: str
    rates: tuple[int, ...] = ()


_FORMATS = {
    "wav": _Format("WAV", "PCM_16"),
    "flac": _Format("FLAC", "PCM_16"),
    "mp3": _Format("MP3", "MPEG_LAYER_III", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
    "ogg": _Format("OGG", "VORBIS"),
    "opus": _Format("OGG", "OPUS", (8000, 12000, 16000, 24000, 48000)),
}
FORMATS = tuple(_FORMATS)


def write_format(
    path: Path, file_format: str, samples: np.ndarray, sampling_rate: int, comments: Mapping[str, str]
) -> None:
    """Write `samples` `[T]`, clipped to [-1, 1], in a format of `FORMATS`, lossless ones with 16 bits.

    Formats that lack the rate are written at the next higher one that they have.

    Args:
        comments: Fields of libsndfile: title, artist, genre, comment, software. A wav file gets none: see `blocks`.

    Raises:
        OSError: the file cannot be written.
    """
    chosen = _FORMATS[file_format]
    rate = sampling_rate
    if chosen.rates and sampling_rate not in chosen.rates:
        rate = next((each for each in chosen.rates if each > sampling_rate), chosen.rates[-1])
        samples = soxr.resample(samples, sampling_rate, rate, quality="HQ")
    samples = np.clip(samples, -1, 1)
    try:
        with soundfile.SoundFile(path, "w", rate, 1, format=chosen.name, subtype=chosen.subtype) as file:
            for name, text in {} if file_format == "wav" else comments.items():
                # Tags of mp3 are written as Latin-1, whatever the text.
                setattr(file, name, unidecode(text) if file_format == "mp3" else text)
            for start in range(0, len(samples), _BLOCK):
                block = samples[start : start + _BLOCK]
                file.write(to_pcm(block) if chosen.subtype == "PCM_16" else block)
    except soundfile.SoundFileError as error:  # it drops the number of the system's error
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise OSError(f"the disk may be full ({reason}); make room, or give another folder") from error
