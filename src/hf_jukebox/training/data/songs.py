"""Songs as training finds them: a recording, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...audio.io import AudioSource


@dataclass(frozen=True)
class SongMetadata:
    """What is known about a song.

    Attributes:
        name: How reports call the song: its path in the folder, or its place in the data set.
        artist, genre, lyrics: Empty where the song has none, None where the data has no such column. Lyrics may be
            LRC text, with times.
    """

    name: str
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None


class SongAudio(Protocol):
    """Where a recording comes from."""

    def file(self) -> AbstractContextManager[AudioSource]:
        """A context manager whose value is an audio file.

        Raises:
            OSError, ValueError: there is none.
        """


@dataclass(frozen=True)
class Song:
    """A recording and its metadata; nothing of it has been read yet."""

    metadata: SongMetadata
    audio: SongAudio


@dataclass(frozen=True)
class AudioFile:
    """A recording in a file of its own."""

    path: Path

    @contextmanager
    def file(self) -> Iterator[Path]:
        yield self.path


@dataclass(frozen=True)
class AudioBytes:
    """A recording in memory, as data sets store it: the content of a file."""

    content: bytes

    @contextmanager
    def file(self) -> Iterator[bytes]:
        yield self.content


@dataclass(frozen=True)
class NoAudio:
    """An empty cell of a data set."""

    @contextmanager
    def file(self) -> Iterator[bytes]:
        raise ValueError("its row has no audio.")
        yield b""


@dataclass(frozen=True)
class AudioRow:
    """A recording in a row of a `datasets` data set on disk; it is fetched when it is asked for."""

    dataset: Any
    row: int

    @contextmanager
    def file(self) -> Iterator[AudioSource]:
        with audio_of(self.dataset[self.row]["audio"]).file() as source:
            yield source


def audio_of(record: Mapping[str, Any] | str | None) -> AudioFile | AudioBytes | NoAudio:
    """The recording in a cell of an undecoded audio column: `{"path": ..., "bytes": ...}`, a path, or None."""
    record = {"path": record} if isinstance(record, str) else record or {}
    if record.get("bytes") is not None:
        return AudioBytes(record["bytes"])
    if record.get("path") is not None:
        return AudioFile(Path(record["path"]))
    return NoAudio()
