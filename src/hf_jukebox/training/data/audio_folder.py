"""A folder of recordings, with or without a table of metadata beside them."""

from __future__ import annotations

import codecs
import logging
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...files.text import user_path
from .songs import AudioFile, Song, SongMetadata
from .tables import FILE_NAME, read_table

logger = logging.getLogger(__name__)

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
# Also formats that cannot be read: such a file is reported by name, not passed over.
_AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"}
_AUDIO_SUFFIXES |= {".m4a", ".mp4", ".aac", ".alac", ".wma", ".webm", ".ape", ".wv"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def songs_of_folder(folder: str | os.PathLike[str]) -> list[Song]:
    """The songs of a folder.

    With a metadata.csv or metadata.jsonl (columns file_name, and artist, genre, lyrics where there are such) the songs
    are those that it lists, in its order, whether their files are there or not: one that is not counts as unreadable.
    Without a table they are all audio files in the folder and below, also in linked folders, sorted by path. A `.lrc`
    file beside a recording holds its lyrics with times, and comes before the metadata's.

    Raises:
        FileNotFoundError: there is no such folder, no audio in it, or none of the files that the metadata names.
        ValueError: the metadata cannot be read or lacks file_name.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; give a folder of audio files.")
    tables = sorted(path for path in folder.iterdir() if path.name.lower() in METADATA_FILES and path.is_file())
    if len(tables) > 1:
        raise ValueError(f"{folder} holds both {' and '.join(path.name for path in tables)}; keep one of them.")
    paths = audio_files(folder)
    if tables:
        songs = _listed_songs(tables[0], paths)
        unlisted = len({*paths} - {song.audio.path for song in songs if isinstance(song.audio, AudioFile)})
        if unlisted:
            logger.warning("%d audio files in %s are not listed in %s and left out.", unlisted, folder, tables[0].name)
    else:
        songs = [Song(SongMetadata(path.relative_to(folder).as_posix()), AudioFile(path)) for path in paths]
    if not songs:
        raise FileNotFoundError(f"There is no audio in {folder}; put wav, flac, ogg or mp3 files into it.")
    lyrics = _LyricsFiles()
    return [lyrics.put_into(song) for song in songs]


def audio_files(folder: Path) -> list[Path]:
    """Audio files in a folder and below, hidden ones aside, sorted by path. Links are followed."""
    found = (path for place in _folders(folder) for path in _visible(place) if path.suffix.lower() in _AUDIO_SUFFIXES)
    return sorted((path for path in found if os.path.isfile(path)), key=lambda path: path.as_posix())


def _folders(folder: Path) -> Iterator[Path]:
    """A folder and all below it, each once: first those that are there, then those that only links lead to."""
    seen = set()
    linked = [folder]
    while linked:
        waiting = [linked.pop(0)]
        while waiting:
            place = waiting.pop()
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:  # also a link back to a folder that it lies in
                continue
            seen.add((status.st_dev, status.st_ino))
            yield place
            for path in _visible(place):
                if os.path.isdir(path):
                    (linked if path.is_symlink() else waiting).append(path)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError:
        logger.warning("Left out, as it may not be read: the folder %s", folder)
        return []


def _listed_songs(table: Path, paths: Sequence[Path]) -> list[Song]:
    rows = read_table(table)
    files = _Files(table.parent, paths)
    songs, missing = [], []
    for row in rows:
        name = row.pop(FILE_NAME)
        path = files.find(name)
        if path is None:
            missing.append(name)
        elif path != table.parent / name:
            name = path.relative_to(table.parent).as_posix()
        labels = {column: text if column == "lyrics" else text.strip() for column, text in row.items()}
        songs.append(Song(SongMetadata(name, **labels), AudioFile(table.parent / name)))
    if missing and len(missing) == len(songs):
        raise FileNotFoundError(
            f"{table} names {len(missing)} files that are not there, such as {missing[0]!r}, and no others; correct "
            f"file_name, which is relative to {table.parent}."
        )
    return songs


class _Files:
    """The audio files of a folder by the names that tables of other systems give them."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self._folder = folder
        self._paths = paths
        self._by_name: dict[str, list[tuple[str, Path]]] | None = None

    def find(self, name: str) -> Path | None:
        """The file of that name, or else the only one whose name differs in spaces, slashes, accents' form and case."""
        if os.path.isfile(self._folder / name):
            return self._folder / name
        if self._by_name is None:
            self._by_name = {}
            for path in self._paths:
                composed = unicodedata.normalize("NFC", path.relative_to(self._folder).as_posix())
                self._by_name.setdefault(composed.casefold(), []).append((composed, path))
        wanted = posixpath.normpath(unicodedata.normalize("NFC", name.strip().replace("\\", "/")))
        found = self._by_name.get(wanted.casefold(), [])
        if len(found) > 1:
            found = [each for each in found if each[0] == wanted]
        return found[0][1] if len(found) == 1 else None


class _LyricsFiles:
    """The `.lrc` files beside recordings."""

    def __init__(self) -> None:
        self._of_folder: dict[Path, dict[str, Path]] = {}

    def put_into(self, song: Song) -> Song:
        """The song with the lyrics of the file beside it, if there is one."""
        assert isinstance(song.audio, AudioFile)
        path = self._beside(song.audio.path)
        if path is None:
            return song
        content = path.read_bytes()
        lyrics = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig", errors="replace")
        if "\N{REPLACEMENT CHARACTER}" in lyrics:
            logger.warning("%s is not UTF-8 text; the letters that cannot be read are dropped.", path)
        known = song.metadata
        return Song(SongMetadata(known.name, known.artist, known.genre, lyrics), song.audio)

    def _beside(self, recording: Path) -> Path | None:
        """The `.lrc` file of a recording: the suffix in any case, the name in either form of accents."""
        exact = recording.parent / f"{recording.stem}.lrc"
        if os.path.isfile(exact):
            return exact
        folder = recording.parent
        if folder not in self._of_folder:
            there = list(folder.iterdir()) if os.path.isdir(folder) else []
            files = (path for path in there if path.suffix.lower() == ".lrc" and path.is_file())
            self._of_folder[folder] = {unicodedata.normalize("NFC", path.stem): path for path in files}
        return self._of_folder[folder].get(unicodedata.normalize("NFC", recording.stem))
