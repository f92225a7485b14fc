"""A folder of recordings, with or without a table of metadata beside them."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .songs import AudioFile, Song, SongMetadata

logger = logging.getLogger(__name__)

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
# Also formats that cannot be read: such a file is reported by name, not passed over.
_AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"}
_AUDIO_SUFFIXES |= {".m4a", ".mp4", ".aac", ".alac", ".wma", ".webm", ".ape", ".wv"}


def songs_of_folder(folder: str | os.PathLike[str]) -> list[Song]:
    """The songs of a folder.

    With a metadata.csv or metadata.jsonl (columns file_name, and artist, genre, lyrics where there are such) the songs
    are those that it lists, in its order. Without one they are all audio files in the folder and below, sorted by path.
    A `.lrc` file beside a recording holds its lyrics with times, and comes before the metadata's.

    Raises:
        FileNotFoundError: there is no such folder, no audio in it, or the metadata names files that are missing.
        ValueError: the metadata cannot be read or lacks file_name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; give a folder of audio files.")
    tables = [folder / name for name in METADATA_FILES if (folder / name).is_file()]
    if len(tables) > 1:
        raise ValueError(f"{folder} holds both {' and '.join(METADATA_FILES)}; keep one of them.")
    paths = audio_files(folder)
    if tables:
        songs = list(_listed_songs(tables[0]))
        unlisted = len({*paths} - {song.audio.path for song in songs if isinstance(song.audio, AudioFile)})
        if unlisted:
            logger.warning("%d audio files in %s are not listed in %s and left out.", unlisted, folder, tables[0].name)
    else:
        songs = [Song(SongMetadata(path.relative_to(folder).as_posix()), AudioFile(path)) for path in paths]
    if not songs:
        raise FileNotFoundError(f"There is no audio in {folder}; put wav, flac, ogg or mp3 files into it.")
    return [_with_timed_lyrics(song) for song in songs]


def audio_files(folder: Path) -> list[Path]:
    """Audio files in a folder and below, hidden ones aside, sorted by path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted((path for path in visible if path.is_file()), key=lambda path: path.as_posix())


def _listed_songs(table: Path) -> Iterator[Song]:
    rows = list(_csv_rows(table) if table.suffix == ".csv" else _jsonl_rows(table))
    columns = {column for row in rows for column in row}
    if "file_name" not in columns:
        found = ", ".join(map(str, sorted(columns))) or "none"
        raise ValueError(f"{table} needs a column file_name; its columns are: {found}.")
    missing = [str(row.get("file_name")) for row in rows if not (table.parent / _cell(row, "file_name")).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{table} names {len(missing)} files that are not there, such as {missing[0]!r}; correct file_name, which "
            f"is relative to {table.parent}."
        )
    for row in rows:
        name = _cell(row, "file_name")
        known = {column: _cell(row, column) for column in ("artist", "genre", "lyrics") if column in columns}
        yield Song(SongMetadata(name, **known), AudioFile(table.parent / name))


def _csv_rows(table: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{table}, line {reader.line_num}: more cells than columns; quote cells with commas."
                    )
                yield row
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8 text; save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{table} is not a table of comma-separated values ({error}).") from error


def _jsonl_rows(table: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not UTF-8 text; save it as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f'{table}, line {number}: expected a JSON object, such as {{"file_name": "a.wav"}}.')
        yield row


def _cell(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)


def _with_timed_lyrics(song: Song) -> Song:
    assert isinstance(song.audio, AudioFile)
    path = song.audio.path.with_suffix(".lrc")
    if not path.is_file():
        return song
    lyrics = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "\N{REPLACEMENT CHARACTER}" in lyrics:
        logger.warning("%s is not UTF-8 text; the letters that cannot be read are dropped.", path)
    known = song.metadata
    return Song(SongMetadata(known.name, known.artist, known.genre, lyrics), song.audio)
