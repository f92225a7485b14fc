"""Labels of training data: tables of names, alphabets, and the label row of a window."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...configuration_jukebox import JukeboxPriorConfig
from ...files.text import listed, read_text, user_path
from ...labels.lyrics import plain_text, timed_lines, unread_stamp
from ...labels.vocabulary import UNKNOWN_ID, LevelVocabulary, normalize_name
from ...tokenization_jukebox import JukeboxTokenizer
from .songs import SongMetadata

logger = logging.getLogger(__name__)

UNKNOWN_NAMES = ("", "unknown")  # what every table reads as id 0


@dataclass(frozen=True)
class LabelTables:
    """Names and their ids for a prior, and what it took to place them.

    Attributes:
        artists, genres: Name to id, for the fields of that name of [`JukeboxPriorConfig`].
        num_artists, num_genres: Rows of the prior's label tables.
        replaced: `("artist" or "genre", new name, old names)` for each row that a new name took over from others.
    """

    artists: dict[str, int]
    genres: dict[str, int]
    num_artists: int
    num_genres: int
    replaced: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def put_into(self, config: JukeboxPriorConfig) -> None:
        """Write the tables into a prior's configuration."""
        config.num_artists, config.num_genres = self.num_artists, self.num_genres
        config.artists, config.genres = self.artists, self.genres


def tables_from_songs(songs: Sequence[SongMetadata], config: JukeboxPriorConfig) -> LabelTables:
    """Tables for a new prior: the names of the songs, sorted, with ids from 1; id 0 is unknown.

    The prior keeps its numbers of rows where they suffice (spare rows serve later fine-tuning), else it gets more.

    Raises:
        ValueError: the data has no column of names.
    """
    check_labels(songs, config)
    artists, genres = ({name: index for index, name in enumerate(sorted(names), 1)} for names in _names(songs, config))
    return LabelTables(
        artists, genres, max(config.num_artists, len(artists) + 1), max(config.num_genres, len(genres) + 1)
    )


def tables_for_fine_tuning(songs: Sequence[SongMetadata], config: JukeboxPriorConfig) -> LabelTables:
    """Tables for a trained prior, whose label tables cannot grow: new names take over rows.

    Names that the prior knows keep their rows. New names, those with the most songs first, take rows that no name
    points to, in ascending order, then rows none of whose names are in the data, from the last one down. The names that
    pointed to such a row are forgotten. Row 0, unknown, is never given away. Weights are not touched: a new name starts
    from what its row has learned.

    Raises:
        ValueError: the data has no column of names, or more names than the prior has rows.
    """
    check_labels(songs, config)
    wanted_artists, wanted_genres = _names(songs, config)
    rules = config.label_rules
    artists, old_artists = _reuse_rows("artist", config.artists or {}, config.num_artists, wanted_artists, rules)
    genres, old_genres = _reuse_rows("genre", config.genres or {}, config.num_genres, wanted_genres, rules)
    return LabelTables(artists, genres, config.num_artists, config.num_genres, old_artists + old_genres)


def check_labels(songs: Sequence[SongMetadata], config: JukeboxPriorConfig) -> None:
    """Whether the data has the columns that a prior reads; their cells may be empty.

    Raises:
        ValueError: which column is missing.
    """
    needed = (["artist", "genre"] if config.has_labels else []) + (["lyrics"] if config.n_lyrics else [])
    for column in needed:
        if all(getattr(song, column) is None for song in songs):
            beside = " (or a .lrc file beside each recording)" if column == "lyrics" else ""
            raise ValueError(
                f"The songs have no {column}, which this prior reads: add a column {column} to metadata.csv{beside}; "
                "its cells may be empty."
            )


def read_alphabet(path: str | os.PathLike[str]) -> str:
    """The characters of a text file, each once, in the order of first appearance; spaces and line breaks count too.

    Letters with accents are one character (NFC), as they are in lyrics when these are cleaned.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not text, or has no characters but white space.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path}; --alphabet names a text file with the characters of the lyrics."
        )
    text = plain_text(read_text(path))
    if not text.strip():
        raise ValueError(f"{path} is empty; write the characters of the lyrics into it, in any order.")
    return "".join(dict.fromkeys(text))


class _SilentTokenizer(JukeboxTokenizer):
    """A tokenizer that warns of nothing: `report_unknown` says it for all songs, and not in every worker process."""

    def _is_first(self, kind: str, given: str) -> bool:
        return False


class WindowLabels:
    """Makes the label rows of a prior's windows."""

    def __init__(self, config: JukeboxPriorConfig) -> None:
        self.config = config
        vocabulary = LevelVocabulary.from_config(config)
        self._tokenizer = _SilentTokenizer({config.level: vocabulary}, sampling_rate=config.sampling_rate)

    @classmethod
    def of(cls, config: JukeboxPriorConfig) -> WindowLabels | None:
        """None for a prior without labels."""
        return cls(config) if config.has_labels else None

    def __call__(self, song: SongMetadata, total_length: int, offset: int) -> torch.Tensor:
        """The row `[label_length]` of the window at `offset` of a song; both lengths in samples."""
        rows: Mapping[str, Any] = self._tokenizer(
            artist=song.artist,
            genre=song.genre,
            lyrics=song.lyrics,
            level=self.config.level,
            total_length=total_length,
            offset=offset,
            window_length=self.config.window_length,
        )
        return rows["labels"][0]


def report_unknown(songs: Iterable[SongMetadata], config: JukeboxPriorConfig) -> None:
    """Say once, with numbers of songs, which names a prior takes for unknown, and what else of their labels is lost."""
    if not config.has_labels:
        return
    vocabulary = LevelVocabulary.from_config(config)
    artists, genres, long_genres, stamped = [], [], [], []
    for song in songs:
        artist, words = _written(song, config)
        if _is_given(song.artist) and (not artist or vocabulary.artist_id(artist) is None):
            artists.append(song.artist)
        lacks_word = any(word not in UNKNOWN_NAMES and vocabulary.genre_id(word) is None for word in words)
        if _is_given(song.genre) and (lacks_word or not any(words)):
            genres.append(song.genre)
        if config.label_rules == "v2" and normalize_name(song.genre or "", "v2").count("_") >= config.genre_words:
            long_genres.append(song.genre)
        if config.n_lyrics and unread_stamp(song.lyrics or "") and not timed_lines(song.lyrics or ""):
            stamped.append(song.name)
    for names, what in (
        (artists, "an artist that the table of the prior lacks and that counts as unknown"),
        (genres, "a genre that the table of the prior lacks and that counts as unknown"),
        (long_genres, f"a genre of more than {config.genre_words} words, of which the others are dropped"),
        (stamped, "lyrics with digits in brackets that are no times, as [01:23.45] is, and count as text"),
    ):
        if names:
            logger.warning("%d songs have %s, such as %s.", len(names), what, listed(dict.fromkeys(map(str, names)), 3))


def _is_given(name: str | None) -> bool:
    return normalize_name(name or "", "v3") not in UNKNOWN_NAMES


def _names(songs: Iterable[SongMetadata], config: JukeboxPriorConfig) -> tuple[Counter[str], Counter[str]]:
    """Artists and genres (or words of genres) as the tables write them, with their numbers of songs."""
    artists: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    for song in songs:
        artist, words = _written(song, config)
        artists[artist] += 1
        genres.update(set(words))
    for names in (artists, genres):
        for name in UNKNOWN_NAMES:
            del names[name]
    return artists, genres


def _written(song: SongMetadata, config: JukeboxPriorConfig) -> tuple[str, list[str]]:
    """The artist of a song, and its genre or the words of it that the prior reads, as the tables write them."""
    artist, genre = (normalize_name(name or "", config.label_rules) for name in (song.artist, song.genre))
    return artist, genre.split("_")[: config.genre_words] if config.label_rules == "v2" else [genre]


def _reuse_rows(
    kind: str, table: Mapping[str, int], num_rows: int, wanted: Counter[str], rules: str
) -> tuple[dict[str, int], list[tuple[str, str, list[str]]]]:
    """The table with rows for all `wanted` names, and which old names each new one replaced."""
    written = {name: normalize_name(name, rules) for name in table}
    known = set(written.values())
    new = sorted((name for name in wanted if name not in known), key=lambda name: (-wanted[name], name))

    unused = sorted(set(range(1, num_rows)) - set(table.values()))
    needed = {table[name] for name in table if written[name] in wanted} | {UNKNOWN_ID}
    idle = sorted(set(table.values()) - needed, reverse=True)
    rows = unused + idle
    if len(new) > len(rows):
        raise ValueError(
            f"The data has {len(wanted)} {kind}s, but the model has only {num_rows - 1} rows for names; use fewer "
            f"{kind}s, or train a new prior."
        )
    given = dict(zip(new, rows, strict=False))
    taken = set(given.values())
    kept = {name: index for name, index in table.items() if index not in taken}
    replaced = [
        (kind, name, sorted(old for old, index in table.items() if index == row))
        for name, row in given.items()
        if row in idle
    ]
    return kept | given, replaced
