"""Folders of recordings, with or without a table of metadata."""

from __future__ import annotations

import codecs
import logging
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...files.text import user_path
from .songs import AudioFile, Song, SongMetadata
from .tables import FILE_NAME, read_table

logger = logging.getLogger(__name__)

METADATA_FILES = ("metadata.csv", "metadata.jsonl")
# Including formats that cannot be read, so that such a file is reported by name and not ignored.
_AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"}
_AUDIO_SUFFIXES |= {".m4a", ".mp4", ".aac", ".alac", ".wma", ".webm", ".ape", ".wv"}
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_saved_dataset(folder: str | os.PathLike[str]) -> bool:
    """Return True if `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return any((Path(folder) / name).is_file() for name in ("dataset_dict.json", "state.json"))


def songs_of_folder(folder: str | os.PathLike[str]) -> list[Song]:
    """List the songs of a folder.

    With a metadata.csv or metadata.jsonl (columns file_name and, optionally, artist, genre, lyrics) these are the songs
    that it lists, in its order, each file once; a missing file counts as unreadable. Without a table they are all audio
    files in the folder and below, also in linked folders, sorted by path. A `.lrc` file beside a recording holds its
    lyrics with times, and takes precedence over the metadata.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no audio, or none of the files that the metadata lists.
        ValueError: the metadata cannot be read or has no file_name.
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
        listed = {song.audio.path for song in songs if isinstance(song.audio, AudioFile)}
        real = {os.path.realpath(path) for path in listed}
        unlisted = sum(os.path.realpath(path) not in real for path in {*paths} - listed)
        if unlisted:
            logger.warning("Skipping %d audio files in %s that are not listed in %s.", unlisted, folder, tables[0].name)
    else:
        songs = [Song(SongMetadata(path.relative_to(folder).as_posix()), AudioFile(path)) for path in paths]
    if not songs:
        raise FileNotFoundError(f"There is no audio in {folder}; put wav, flac, ogg or mp3 files into it.")
    lyrics = _LyricsFiles()
    return [lyrics.put_into(song) for song in songs]


def audio_files(folder: Path) -> list[Path]:
    """List the audio files in a folder and below, except hidden ones, sorted by path. Links are followed."""
    found = (path for each in _folders(folder) for path in _visible(each) if path.suffix.lower() in _AUDIO_SUFFIXES)
    return sorted((path for path in found if os.path.isfile(path)), key=lambda path: path.as_posix())


def _folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and all folders below, each once: first the real ones, then those that only links lead to."""
    seen = set()
    linked = [folder]
    while linked:
        waiting = [linked.pop(0)]
        while waiting:
            current = waiting.pop()
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:  # including links back to a parent folder
                continue
            seen.add((status.st_dev, status.st_ino))
            yield current
            for path in _visible(current):
                if os.path.isdir(path):
                    (linked if path.is_symlink() else waiting).append(path)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except PermissionError:
        logger.warning("Skipping a folder without read permission: %s", folder)
        return []


def _listed_songs(table: Path, paths: Sequence[Path]) -> list[Song]:
    rows = read_table(table)
    files = _Files(table.parent, paths)
    songs: list[Song] = []
    missing: list[str] = []
    seen: set[str] = set()
    repeated = 0
    for row in rows:
        name = row.pop(FILE_NAME)
        path = files.find(name)
        if path is None:
            missing.append(name)
        elif path != table.parent / name:
            name = path.relative_to(table.parent).as_posix()
        if path is not None:
            real = os.path.realpath(path)
            if real in seen:
                repeated += 1
                continue
            seen.add(real)
        labels = {column: text if column == "lyrics" else text.strip() for column, text in row.items()}
        songs.append(Song(SongMetadata(name, **labels), AudioFile(table.parent / name)))
    if repeated:  # otherwise a song could be trained on and held out
        logger.warning("Skipping %d rows of %s whose file an earlier row lists.", repeated, table.name)
    if missing and len(missing) == len(songs):
        raise FileNotFoundError(
            f"{table} lists {len(missing)} files, such as {missing[0]!r}, and none of them exists; correct file_name, "
            f"which is relative to {table.parent}."
        )
    return songs


class _Files:
    """Index of the audio files of a folder that tolerates the file names of other systems."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        self._folder = folder
        self._paths = paths
        self._by_name: dict[str, list[tuple[str, Path]]] | None = None

    def find(self, name: str) -> Path | None:
        """Return the file of that name, or the only one that differs in spaces, slashes, composition or case alone."""
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
    """Index of the `.lrc` files beside recordings."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, dict[str, Path]] = {}

    def put_into(self, song: Song) -> Song:
        """Return the song with the lyrics of the file beside it, if there is one."""
        assert isinstance(song.audio, AudioFile)
        path = self._beside(song.audio.path)
        if path is None:
            return song
        content = path.read_bytes()
        lyrics = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig", errors="replace")
        if "\N{REPLACEMENT CHARACTER}" in lyrics:
            logger.warning("%s is not UTF-8 text; dropping the letters that cannot be read.", path)
        return Song(replace(song.metadata, lyrics=lyrics), song.audio)

    def _beside(self, recording: Path) -> Path | None:
        """Return the `.lrc` file of a recording, with a suffix in any case and accents composed or not."""
        exact = recording.parent / f"{recording.stem}.lrc"
        if os.path.isfile(exact):
            return exact
        folder = recording.parent
        if folder not in self._by_folder:
            paths = list(folder.iterdir()) if os.path.isdir(folder) else []
            files = (path for path in paths if path.suffix.lower() == ".lrc" and path.is_file())
            self._by_folder[folder] = {unicodedata.normalize("NFC", path.stem): path for path in files}
        return self._by_folder[folder].get(unicodedata.normalize("NFC", recording.stem))
