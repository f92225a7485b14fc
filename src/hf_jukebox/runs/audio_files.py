"""Audio files in a run folder: whether they are complete, and whether the run wrote them or somebody edited them."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import wave
from collections.abc import Collection, Iterable
from itertools import count
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ..audio import audio_info, write_wav
from ..files.atomic import replacing

logger = logging.getLogger(__name__)

_MOST_BYTES = 2**24


class _Digests(BaseModel):
    """Content of `audio.json`."""

    model_config = ConfigDict(strict=True)

    written: set[str]


class WrittenAudio:
    """Digests of all audio that a run has written, even if the files were renamed.

    Args:
        run_dir: Folder of the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "audio.json"

    def write(
        self, path: Path, blocks: Iterable[np.ndarray], sampling_rate: int, earlier_lengths: Collection[int]
    ) -> None:
        """Write blocks `[t]` as a wav file; an edited file in its place is kept under another name.

        Args:
            earlier_lengths: Lengths in samples of files that earlier steps wrote; older versions kept no digests.
        """
        written = self._read(sampling_rate, earlier_lengths)
        if _is_audio(path) and _digest(path) not in written:
            kept = next(name for name in map(path.with_name, _other_names(path)) if not os.path.lexists(name))
            os.replace(path, kept)
            logger.warning(
                "%s was edited; it is kept as %s, and the audio of the run is written again.", path, kept.name
            )
        write_wav(path, blocks, sampling_rate)
        digests = _Digests(written=written | {_digest(path)})
        with replacing(self.path) as unfinished:
            unfinished.write_text(digests.model_dump_json() + "\n", encoding="utf-8")

    def is_edited(self, path: Path, sampling_rate: int, earlier_lengths: Collection[int]) -> bool:
        """Return whether a file is none that the run wrote; see `write` for the arguments."""
        return _digest(path) not in self._read(sampling_rate, earlier_lengths)

    def _read(self, sampling_rate: int, earlier_lengths: Collection[int]) -> set[str]:
        try:
            if self.path.is_file() and self.path.stat().st_size <= _MOST_BYTES:
                return _Digests.model_validate_json(self.path.read_bytes()).written
        except (OSError, ValidationError):
            pass
        layouts = {path: _layout(path) for path in self.path.parent.glob("level_*/item_*.wav")}
        usual = {(length, 1, 2, sampling_rate) for length in earlier_lengths}
        return {_digest(path) for path, layout in layouts.items() if layout in usual}


def wav_frames(path: Path) -> int | None:
    """Count the samples of an integer wav file; None for a file that is missing, truncated or something else."""
    layout = _layout(path)
    return None if layout is None else layout[0]


def _layout(path: Path) -> tuple[int, int, int, int] | None:
    """Return frames, channels, bytes per sample and sampling rate of a complete integer wav file."""
    if _is_truncated(path):
        return None
    try:
        with path.open("rb") as file, wave.open(file) as audio:
            return audio.getnframes(), audio.getnchannels(), audio.getsampwidth(), audio.getframerate()
    except (OSError, EOFError, wave.Error, struct.error, ValueError, ArithmeticError, RuntimeError):
        return None


def _is_audio(path: Path) -> bool:
    """Return True for a file of complete audio, in any format."""
    try:
        return path.is_file() and not _is_truncated(path) and audio_info(path).frames > 0
    except (OSError, ValueError):
        return False


def _is_truncated(path: Path) -> bool:
    """Return True for a wav file that is missing or shorter than its header says."""
    if not path.is_file():
        return True
    try:
        with path.open("rb") as file:
            start = file.read(8)
        return start[:4] == b"RIFF" and path.stat().st_size < 8 + int.from_bytes(start[4:], "little")
    except OSError:
        return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _other_names(path: Path) -> Iterable[str]:
    """Yield `item_0.edited.wav`, `item_0.edited-2.wav` and so on."""
    yield f"{path.stem}.edited{path.suffix}"
    for number in count(2):
        yield f"{path.stem}.edited-{number}{path.suffix}"
