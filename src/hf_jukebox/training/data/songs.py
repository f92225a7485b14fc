"""Songs of training data: a recording with its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...audio import AudioSource


@dataclass(frozen=True)
class SongMetadata:
    """Name and labels of a song.

    Attributes:
        name: Name in messages: the path in the folder, or the row of the data set.
        artist, genre, lyrics: Labels; empty if the song has none, None if the data has no such column. Lyrics may be
            LRC text, with times.
    """

    name: str
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None


class SongAudio(Protocol):
    """Source of a recording."""

    def file(self) -> AbstractContextManager[AudioSource]:
        """Return a context manager whose value is an audio file.

        Raises:
            OSError, ValueError: there is no audio.
        """


@dataclass(frozen=True)
class Song:
    """Recording and its metadata; the audio has not been read yet."""

    metadata: SongMetadata
    audio: SongAudio


@dataclass(frozen=True)
class AudioFile:
    """Recording in a file of its own."""

    path: Path

    @contextmanager
    def file(self) -> Iterator[Path]:
        yield self.path


@dataclass(frozen=True)
class AudioBytes:
    """Recording in memory, as data sets store it: the content of a file."""

    content: bytes

    @contextmanager
    def file(self) -> Iterator[bytes]:
        yield self.content


@dataclass(frozen=True)
class NoAudio:
    """Empty cell of a data set."""

    @contextmanager
    def file(self) -> Iterator[bytes]:
        raise ValueError("its row has no audio.")
        yield b""


@dataclass(frozen=True)
class AudioRow:
    """Recording in a row of a `datasets` data set on disk, fetched on access."""

    dataset: Any
    row: int

    @contextmanager
    def file(self) -> Iterator[AudioSource]:
        with audio_in_cell(self.dataset[self.row]["audio"]).file() as source:
            yield source


def audio_in_cell(record: Mapping[str, Any] | str | None) -> AudioFile | AudioBytes | NoAudio:
    """Return the recording in a cell of an undecoded audio column: `{"path": ..., "bytes": ...}`, a path, or None."""
    record = {"path": record} if isinstance(record, str) else record or {}
    if record.get("bytes") is not None:
        return AudioBytes(record["bytes"])
    if record.get("path") is not None:
        return AudioFile(Path(record["path"]))
    return NoAudio()
