"""Vocabularies of a prior: its names and characters, the rules for the spelling of names, and their files."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ..configuration_jukebox import JukeboxPriorConfig
from ..files.atomic import replacing
from ..files.text import read_json, read_text, user_path
from ..layers.conditioning import LabelColumns

UNKNOWN_ID = 0
_MOST_LEVELS, _MOST_SLOTS, _MOST_IDS = 2**5, 2**20, 2**31
# Fields of the vocabularies in each file of a saved tokenizer: a list with one entry for all levels that agree.
VOCABULARY_FILES = {
    "artists.json": ("rules", "artists"),
    "genres.json": ("genre_words", "genres"),
    "lyrics.json": ("alphabet", "n_lyrics"),
}


def normalize_name(name: str, rules: str) -> str:
    """Return an artist or genre in the spelling of the tables, for training and sampling alike.

    `"v3"` lower-cases, composes accents (NFC), makes every run of white space one space and strips it at both ends.
    `"v2"` also turns every run of characters other than a-z and 0-9 into one `_`, and strips `_` at both ends: "Céline
    Dion" becomes `c_line_dion`. A name without such characters becomes empty.
    """
    name = " ".join(unicodedata.normalize("NFC", name.replace("\ufeff", "")).split())
    name = unicodedata.normalize("NFC", name.lower())
    return re.sub("[^a-z0-9]+", "_", name).strip("_") if rules == "v2" else name


def read_ids(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read a published table: one `name;id` per line in UTF-8, where several names may share an id.

    Names are lower-cased and stripped of extra spaces, unless the result is another name of the table; a name that is
    listed twice keeps its last id. Blank lines are ignored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not `name;id`, or the file is not text.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; put the published artist and genre tables into that folder.")
    ids: dict[str, int] = {}
    for number, line in enumerate(re.split("\r\n|\r|\n", read_text(path)), start=1):
        if not line.strip():
            continue
        name, separator, value = line.rpartition(";")
        if not (separator and re.fullmatch(r"\s*\d{1,9}\s*", value)):
            raise ValueError(f"{path}, line {number}: expected 'name;id', got {line!r:.80}.")
        ids[name.lower()] = int(value)
    written = {name: normalize_name(name, "v3") for name in ids}
    return {name if ids.get(written[name], index) != index else written[name]: index for name, index in ids.items()}


@dataclass(frozen=True)
class LevelVocabulary:
    """The names and characters of one prior, and the size of its label rows.

    Attributes:
        rules: Rules for the spelling of names, `"v2"` or `"v3"`: see [`normalize_name`]. A v2 genre is also split into
            words.
        artists, genres: Name to id; several names may share one. Id 0 is that of every unknown name.
        alphabet: The characters of the lyrics, with ids from 1 in this order; 0 is the padding.
        genre_words: Genre slots per label row.
        n_lyrics: Lyric characters per label row; 0 for a prior without lyrics.

    Raises:
        ValueError: a field has the wrong type or is out of range.
    """

    rules: str
    artists: dict[str, int]
    genres: dict[str, int]
    alphabet: str = ""
    genre_words: int = 1
    n_lyrics: int = 0

    def __post_init__(self) -> None:
        if self.rules not in ("v2", "v3"):
            raise ValueError(f"rules must be 'v2' or 'v3', not {self.rules!r}.")
        for kind, table in (("artists", self.artists), ("genres", self.genres)):
            if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
                raise ValueError(f"{kind} must hold the id of each name.")
            for index in table.values():
                _check_whole(f"an id in {kind}", index, _MOST_IDS)
        if not isinstance(self.alphabet, str):
            raise ValueError(f"The alphabet must be a text, not {type(self.alphabet).__name__}.")
        _check_whole("genre_words", self.genre_words, _MOST_SLOTS, least=-_MOST_SLOTS)
        _check_whole("n_lyrics", self.n_lyrics, _MOST_SLOTS, least=-_MOST_SLOTS)
        if self.genre_words < 1 or self.n_lyrics < 0:
            raise ValueError(
                f"genre_words must be at least 1 and n_lyrics at least 0, not {self.genre_words} and {self.n_lyrics}."
            )
        if self.n_lyrics and not self.alphabet:
            raise ValueError(f"n_lyrics={self.n_lyrics} needs an alphabet.")
        if len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError("The alphabet holds a character twice; give every character once.")

    @classmethod
    def from_config(cls, config: JukeboxPriorConfig) -> Self:
        """Return the vocabulary that is stored in a prior's configuration."""
        return cls(
            rules=config.label_rules,
            artists=config.artists or {},
            genres=config.genres or {},
            alphabet=config.alphabet,
            genre_words=config.genre_words,
            n_lyrics=config.n_lyrics,
        )

    @property
    def label_columns(self) -> LabelColumns:
        """Columns of a label row."""
        return LabelColumns(self.genre_words, self.n_lyrics)

    @property
    def label_length(self) -> int:
        """Number of columns of a label row."""
        return self.label_columns.length

    @cached_property
    def artist_ids(self) -> dict[str, int]:
        """Normalised artist to id."""
        return self._normalized(self.artists)

    @cached_property
    def genre_ids(self) -> dict[str, int]:
        """Normalised genre, or genre word, to id."""
        return self._normalized(self.genres)

    @cached_property
    def character_ids(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.alphabet, start=1)}

    def _normalized(self, table: dict[str, int]) -> dict[str, int]:
        # The published v2 table holds `r_e_m_`, which its own rules never produce: normalising the table too lets
        # "R.E.M." match it. Names that are already in the right form take precedence.
        return {normalize_name(name, self.rules): index for name, index in table.items()} | table

    def artist_id(self, name: str) -> int | None:
        """Return the id of an artist; None if the table lacks it."""
        return self._id(name, self.artist_ids)

    def genre_id(self, name: str) -> int | None:
        """Return the id of a genre, or of a word of one with v2 rules; None if the table lacks it."""
        return self._id(name, self.genre_ids)

    def _id(self, name: str, ids: dict[str, int]) -> int | None:
        # Tables of earlier versions may hold a name both with and without spaces at its end; both keep their ids.
        exact = ids.get(name.lower()) if self.rules == "v3" else None
        return ids.get(normalize_name(name, self.rules)) if exact is None else exact


def _check_whole(name: str, value: object, most: int, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {repr(value)[:80]}.")
    return value


def names_of(index: int, table: dict[str, int]) -> str:
    """Return the name of an id; several are sorted and joined by `_`, as in the published code."""
    names = sorted(name for name, other in table.items() if other == index)
    return "_".join(names) if names else "unknown" if index == UNKNOWN_ID else f"#{index}"


def save_vocabularies(vocabularies: dict[int, LevelVocabulary], paths: Sequence[Path]) -> None:
    """Write the three files of [`VOCABULARY_FILES`] to `paths`; tables that levels share are written once."""
    for path, fields in zip(paths, VOCABULARY_FILES.values(), strict=True):
        entries: list[dict[str, Any]] = []
        for level, vocabulary in vocabularies.items():
            content = {field: getattr(vocabulary, field) for field in fields}
            same = [entry for entry in entries if content.items() <= entry.items()]
            if same:
                same[0]["levels"].append(level)
            else:
                entries.append({"levels": [level], **content})
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_vocabularies(paths: Sequence[str | os.PathLike[str] | None]) -> dict[int, LevelVocabulary]:
    """Read the files that [`save_vocabularies`] wrote.

    Raises:
        ValueError: a file is missing (`None`), or was not written by [`save_vocabularies`].
    """
    fields: dict[int, dict[str, Any]] = {}
    for path, name in zip(paths, VOCABULARY_FILES, strict=True):
        # Not a FileNotFoundError: from_pretrained replaces an OSError by a message that names no file.
        if path is None or not Path(path).is_file():
            raise ValueError(f"{name} is missing; a saved tokenizer has {', '.join(VOCABULARY_FILES)}.")
        try:
            for entry in read_json(path):
                for level in entry["levels"]:
                    fields.setdefault(_check_whole("levels", level, _MOST_LEVELS), {}).update(
                        {key: entry[key] for key in VOCABULARY_FILES[name]}
                    )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path} is not a table that this library saved; a model of transformers 4 has to be converted first "
                "(hf-jukebox convert transformers)."
            ) from error
    try:
        return {level: LevelVocabulary(**each) for level, each in sorted(fields.items())}
    except TypeError as error:
        raise ValueError(f"{', '.join(map(str, paths))} do not describe the same levels; save them again.") from error
