"""A catalogue as a folder: catalogue.json, and for each level the codes of all songs with their index."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import new_folder
from ..files.text import read_json_object, text_value, user_path, whole_value
from .arrays import array_path
from .following import CodeFollower, Follower
from .hashes import HashedGrams, HashFollower, write_hashes
from .index import SEPARATOR, SHORTEST, CodeIndex, write_index

INDEX = "catalogue.json"
FORMAT = 1
_MOST_INDEX_BYTES = 2**30  # names of some million songs
_MOST_LEVELS, _MOST_SIZE = 16, 2**40


@dataclass(frozen=True)
class CodeFormat:
    """The codes of a catalogue: the VQ-VAE that made them, and their levels.

    Attributes:
        fingerprint: Fingerprint of the VQ-VAE's encoder and codebooks.
        sampling_rate: Samples per second.
        hop_lengths: Raw samples per code of each level of the VQ-VAE, finest first.
        codebook_size: Number of different codes.
    """

    fingerprint: str
    sampling_rate: int
    hop_lengths: list[int]
    codebook_size: int

    def ratio(self, level: int) -> int:
        """Return the codes of a level per top-level code."""
        return self.hop_lengths[-1] // self.hop_lengths[level]

    def codes(self, level: int, seconds: float) -> int:
        """Return the whole codes of a level in this many seconds."""
        return int(seconds * self.sampling_rate / self.hop_lengths[level] + 1e-6)

    def seconds(self, level: int, codes: int) -> float:
        return codes * self.hop_lengths[level] / self.sampling_rate


@dataclass(frozen=True)
class CatalogueSong:
    """Name of a song, and its length in top-level codes."""

    name: str
    top_codes: int


class AnyCatalogue:
    """The part that catalogues with and without songs share.

    Attributes:
        folder: Folder of the catalogue.
        format: The codes that it holds.
        levels: Levels that it holds, finest first.
        digest: Hash of its content.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder = folder
        self.format = CodeFormat(
            text_value(content["fingerprint"]),
            whole_value(content["sampling_rate"], _MOST_SIZE),
            [whole_value(hop, _MOST_SIZE) for hop in content["hop_lengths"]],
            whole_value(content["codebook_size"], SEPARATOR),
        )
        self.levels = [whole_value(level, _MOST_LEVELS) for level in content["levels"]]
        if not self.levels or max(self.levels) >= len(self.format.hop_lengths):
            raise ValueError(f"levels {self.levels}")
        self.digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def check_fingerprint(self, fingerprint: str) -> None:
        """Refuse a VQ-VAE that did not make these codes.

        Raises:
            ValueError: another VQ-VAE made them.
        """
        if fingerprint != self.format.fingerprint:
            raise ValueError(
                f"{self.folder} is a catalogue of another VQ-VAE (fingerprint {self.format.fingerprint[:12]}, not "
                f"{fingerprint[:12]}); build one from codes of this model."
            )

    def shortest(self, level: int) -> int:
        """Return the smallest number of codes that agreements can be limited to at a level."""
        raise NotImplementedError

    def follower(self, level: int, longest: int, rows: int) -> Follower:
        """Return a follower of several rows that allows agreements of `longest` codes at a level."""
        raise NotImplementedError


class Catalogue(AnyCatalogue):
    """Catalogue of songs: the codes of each at one level or more.

    Attributes:
        songs: Songs in their order.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        super().__init__(folder, content)
        self.songs = [
            CatalogueSong(text_value(name), whole_value(codes, _MOST_SIZE)) for name, codes in content["songs"]
        ]
        lengths = [song.top_codes for song in self.songs]
        ratios = {level: self.format.ratio(level) for level in self.levels}
        # A song starts after the codes and the separator of each song before it.
        self._starts = {
            level: [0, *accumulate(length * ratio + 1 for length in lengths)] for level, ratio in ratios.items()
        }
        self._indices: dict[int, CodeIndex] = {}

    def index(self, level: int) -> CodeIndex:
        """Return the index of a level, mapped into memory.

        Raises:
            OSError, ValueError: it is missing or damaged.
        """
        if level not in self._indices:
            index = CodeIndex.open(self.folder, level)
            if len(index.codes) < self._starts[level][-1]:
                raise ValueError(f"{self.folder} holds fewer codes than {INDEX} says; build the catalogue again.")
            self._indices[level] = index
        return self._indices[level]

    def codes(self, song: int, level: int) -> np.ndarray:
        """Return the codes of a song at a level, uint16 `[T_level]`, mapped into memory."""
        starts = self._starts[level]
        return self.index(level).codes[starts[song] : starts[song + 1] - 1]

    def songs_at(self, level: int, positions: np.ndarray) -> np.ndarray:
        """Return the songs at positions of the index's codes, int64 `[n]`."""
        return np.searchsorted(self._starts[level], positions, side="right") - 1

    def span(self, song: int, level: int) -> tuple[int, int]:
        """Return the positions of the index's codes at which a song starts and ends."""
        return self._starts[level][song], self._starts[level][song + 1] - 1

    def shortest(self, level: int) -> int:
        return SHORTEST

    def follower(self, level: int, longest: int, rows: int) -> Follower:
        return CodeFollower(self.index(level), longest, rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_indices": {}}  # each process maps the files itself


class HashedCatalogue(AnyCatalogue):
    """Catalogue without songs: the salted hashes of their stretches of a fixed length.

    Attributes:
        lengths: Codes per hashed stretch, by level.
    """

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        super().__init__(folder, content)
        self._salt = bytes.fromhex(text_value(content["salt"]))
        self.lengths = {
            level: whole_value(length, 2**24) for level, length in zip(self.levels, content["lengths"], strict=True)
        }

    def grams(self, level: int) -> HashedGrams:
        """Return the hashes of a level, mapped into memory.

        Raises:
            OSError, ValueError: they are missing or damaged.
        """
        return HashedGrams.open(self.folder, level, self.lengths[level], self._salt)

    def shortest(self, level: int) -> int:
        return self.grams(level).longest_unseen

    def follower(self, level: int, longest: int, rows: int) -> Follower:
        return HashFollower(self.grams(level), self.format.codebook_size, longest, rows)


def open_catalogue(folder: str | os.PathLike[str]) -> AnyCatalogue:
    """Open a catalogue of either kind.

    Raises:
        FileNotFoundError: the folder holds none.
        OSError: it cannot be read.
        ValueError: it is damaged, or was written by a newer version.
    """
    folder = user_path(folder)
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no catalogue ({INDEX} is missing); build one with hf-jukebox catalogue build."
        )
    content = read_json_object(path, _MOST_INDEX_BYTES)
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a catalogue that this version can read; update hf_jukebox or build it again.")
    kinds: dict[Any, Callable[[Path, dict[str, Any]], AnyCatalogue]] = {"codes": Catalogue, "hashes": HashedCatalogue}
    try:
        return kinds[content["kind"]](folder, content)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged; build the catalogue again.") from error


def open_songs(folder: str | os.PathLike[str]) -> Catalogue:
    """Open a catalogue with songs.

    Raises:
        OSError, ValueError: see [`open_catalogue`]; a ValueError also if it holds hashes only.
    """
    catalogue = open_catalogue(folder)
    if not isinstance(catalogue, Catalogue):
        raise ValueError(f"{folder} holds hashes of codes and no songs; give the catalogue that it was made from.")
    return catalogue


def write_catalogue(
    folder: Path,
    codes: CodeFormat,
    levels: Sequence[int],
    songs: Sequence[CatalogueSong],
    read: Callable[[int, int], np.ndarray],
) -> Catalogue:
    """Write a catalogue; the folder appears when it is complete.

    Args:
        folder: New folder.
        codes: Format of the codes.
        levels: Levels to hold.
        songs: Songs in their order.
        read: Returns the codes of a song, by its number, at a level.

    Raises:
        FileExistsError: the folder exists.
        OSError: it cannot be written.
        ValueError: there are no codes, or too many.
    """
    if not any(song.top_codes for song in songs):
        raise ValueError("There are no codes to build a catalogue from; encode at least one song first.")
    if codes.codebook_size > SEPARATOR:
        raise ValueError(f"A catalogue takes codebooks of up to {SEPARATOR} codes, not {codes.codebook_size}.")
    digests = {}
    _check_new(folder)
    with new_folder(folder) as unfinished:
        for level in levels:
            ratio, digest = codes.ratio(level), hashlib.sha256()

            def song_codes(level: int = level, digest: Any = digest) -> Iterator[np.ndarray]:
                for number in range(len(songs)):
                    values = read(number, level).astype("<u2")
                    digest.update(values)
                    yield values

            write_index(unfinished, level, [song.top_codes * ratio for song in songs], song_codes())
            digests[level] = digest.hexdigest()
        names = [[song.name, song.top_codes] for song in songs]
        _write_content(unfinished, "codes", codes, levels, digests=list(digests.values()), songs=names)
    return open_songs(folder)


def write_hashed_catalogue(catalogue: Catalogue, folder: Path, longest_in_s: float) -> HashedCatalogue:
    """Write the catalogue's hashes, without its songs, so that agreements can be limited to `longest_in_s`.

    Raises:
        FileExistsError: the folder exists.
        OSError: it cannot be written.
        ValueError: `longest_in_s` is too short.
    """
    salt, lengths, digests = os.urandom(16), [], []
    _check_new(folder)
    with new_folder(folder) as unfinished:
        for level in catalogue.levels:
            longest = catalogue.format.codes(level, longest_in_s)
            spans = [catalogue.span(song, level) for song in range(len(catalogue.songs))]
            lengths.append(write_hashes(unfinished, level, catalogue.index(level).codes, spans, longest, salt))
            digests.append(hashlib.sha256((array_path(unfinished, level, "hashes")).read_bytes()).hexdigest())
        _write_content(
            unfinished, "hashes", catalogue.format, catalogue.levels, digests=digests, salt=salt.hex(), lengths=lengths
        )
    opened = open_catalogue(folder)
    assert isinstance(opened, HashedCatalogue)
    return opened


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; give the catalogue a new folder.")


def _write_content(folder: Path, kind: str, codes: CodeFormat, levels: Iterable[int], **more: Any) -> None:
    content = {"format": FORMAT, "kind": kind, **vars(codes), "levels": list(levels), **more}
    # ASCII escapes file names that are not valid UTF-8, so that they are read back unchanged.
    (folder / INDEX).write_text(json.dumps(content) + "\n", encoding="ascii")
