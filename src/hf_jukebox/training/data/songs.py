"""Songs as training finds them: a recording, and what is known about it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol


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

    def file(self) -> Any:
        """A context manager whose value is the path of an audio file."""


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
    """A recording in memory, as data sets store it: the content of a file, whose name tells the format."""

    content: bytes
    name: str = ""

    @contextmanager
    def file(self) -> Iterator[Path]:
        # The reader of audio works on files: an mp3 is decoded by its path, and damaged ones are reported by it.
        with tempfile.TemporaryDirectory(prefix="hf_jukebox_") as folder:
            path = Path(folder) / f"audio{PurePath(self.name).suffix}"
            path.write_bytes(self.content)
            yield path


@dataclass(frozen=True)
class AudioRow:
    """A recording in a row of a `datasets` data set on disk; it is fetched when it is asked for."""

    dataset: Any
    row: int

    @contextmanager
    def file(self) -> Iterator[Path]:
        with audio_of(self.dataset[self.row]["audio"]).file() as path:
            yield path


def audio_of(record: Mapping[str, Any]) -> AudioFile | AudioBytes:
    """The recording in a cell of an undecoded audio column: `{"path": ..., "bytes": ...}`, where one may be None."""
    if record["bytes"] is not None:
        return AudioBytes(record["bytes"], record["path"] or "")
    return AudioFile(Path(record["path"]))
