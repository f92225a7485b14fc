"""Labels of training data: tables of names, alphabets, and the label row of a window."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ...configuration_jukebox import JukeboxPriorConfig
from ...files.text import listed, read_text, user_path
from ...labels.lyrics import plain_text, timed_lines, unread_stamp
from ...labels.vocabulary import UNKNOWN_ID, LevelVocabulary, normalize_name
from ...sampling.window_labels import WindowLabels
from ...tokenization_jukebox import JukeboxTokenizer
from .songs import SongMetadata

logger = logging.getLogger(__name__)

UNKNOWN_NAMES = ("", "unknown")  # id 0 in every table


@dataclass(frozen=True)
class LabelTables:
    """Tables of names and ids for a prior.

    Attributes:
        artists, genres: Name to id, for the fields of the same name of [`JukeboxPriorConfig`].
        num_artists, num_genres: Rows of the prior's label tables.
        replaced: `("artist" or "genre", new name, old names)` for each row that a new name takes over from others.
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
    """Make the tables of a new prior: the names of the songs, sorted, with ids from 1; id 0 is unknown.

    The prior keeps its numbers of rows if they suffice (spare rows serve later fine-tuning); otherwise it gets more.

    Raises:
        ValueError: the data has no column of names.
    """
    check_labels(songs, config)
    artists, genres = ({name: index for index, name in enumerate(sorted(names), 1)} for names in _names(songs, config))
    return LabelTables(
        artists, genres, max(config.num_artists, len(artists) + 1), max(config.num_genres, len(genres) + 1)
    )


def tables_for_fine_tuning(songs: Sequence[SongMetadata], config: JukeboxPriorConfig) -> LabelTables:
    """Make the tables of a trained prior, whose label tables cannot grow: new names take over rows.

    Names that the prior already has keep their rows. New names, those with the most songs first, get the unused rows,
    in ascending order, and then the rows none of whose names occur in the data, from the last one down; the old names
    of such a row are dropped. Row 0, unknown, is never reassigned. Weights are not changed: a new name starts from what
    its row has learned.

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
    """Check that the data has the columns that a prior uses; their cells may be empty.

    Raises:
        ValueError: a column is missing.
    """
    needed = (["artist", "genre"] if config.has_labels else []) + (["lyrics"] if config.n_lyrics else [])
    for column in needed:
        if all(getattr(song, column) is None for song in songs):
            beside = " (or a .lrc file beside each recording)" if column == "lyrics" else ""
            raise ValueError(
                f"The songs have no {column}, which this prior needs: add a column {column} to metadata.csv{beside}; "
                "its cells may be empty."
            )


def read_alphabet(path: str | os.PathLike[str]) -> str:
    """Read the characters of a text file, each once, in order of first appearance, including spaces and line breaks.

    A letter with an accent is one character (NFC), as in cleaned lyrics.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not text, or holds only white space.
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
    """Tokenizer without warnings: `report_unknown` logs once for all songs what each worker process would repeat."""

    def _is_first(self, kind: str, given: str) -> bool:
        return False


def window_labels(config: JukeboxPriorConfig) -> WindowLabels | None:
    """Make the [`WindowLabels`] of a prior from the names in its config; None for a prior without labels."""
    if not config.has_labels:
        return None
    vocabularies = {config.level: LevelVocabulary.from_config(config)}
    return WindowLabels(_SilentTokenizer(vocabularies, sampling_rate=config.sampling_rate), config)


def label_row(labels: WindowLabels, song: SongMetadata, total_length: int, offset: int) -> torch.Tensor:
    """Return the row `[label_length]` of the window at `offset` of a song of `total_length`, both in samples."""
    names = {"artist": song.artist, "genre": song.genre, "lyrics": song.lyrics}
    return labels(**names, total_length=total_length, offset=offset)[0]


def report_unknown(songs: Iterable[SongMetadata], config: JukeboxPriorConfig) -> None:
    """Log how many songs have names that the prior treats as unknown, and which other labels are dropped."""
    if not config.has_labels:
        return
    vocabulary = LevelVocabulary.from_config(config)
    artists, genres, long_genres, stamped = [], [], [], []
    for song in songs:
        artist, words = _normalized_names(song, config)
        if _is_given(song.artist) and (not artist or vocabulary.artist_id(artist) is None):
            artists.append(song.artist)
        lacks_word = any(word not in UNKNOWN_NAMES and vocabulary.genre_id(word) is None for word in words)
        if _is_given(song.genre) and (lacks_word or not any(words)):
            genres.append(song.genre)
        if config.label_rules == "v2" and normalize_name(song.genre or "", "v2").count("_") >= config.genre_words:
            long_genres.append(song.genre)
        if config.n_lyrics and unread_stamp(song.lyrics or "") and not timed_lines(song.lyrics or ""):
            stamped.append(song.name)
    for names, fault in (
        (artists, "an artist that is missing from the table of the prior and treated as unknown"),
        (genres, "a genre that is missing from the table of the prior and treated as unknown"),
        (long_genres, f"a genre of more than {config.genre_words} words (the rest are dropped)"),
        (stamped, "lyrics with digits in brackets that are not times like [01:23.45] and are treated as text"),
    ):
        if names:
            logger.warning(
                "%d songs have %s, such as %s.", len(names), fault, listed(dict.fromkeys(map(str, names)), 3)
            )


def _is_given(name: str | None) -> bool:
    return normalize_name(name or "", "v3") not in UNKNOWN_NAMES


def _names(songs: Iterable[SongMetadata], config: JukeboxPriorConfig) -> tuple[Counter[str], Counter[str]]:
    """Count the songs per artist and per genre (or word of a genre), in the spelling of the tables."""
    artists: Counter[str] = Counter()
    genres: Counter[str] = Counter()
    for song in songs:
        artist, words = _normalized_names(song, config)
        artists[artist] += 1
        genres.update(set(words))
    for names in (artists, genres):
        for name in UNKNOWN_NAMES:
            del names[name]
    return artists, genres


def _normalized_names(song: SongMetadata, config: JukeboxPriorConfig) -> tuple[str, list[str]]:
    """Return artist and genre (or the words of it that the prior uses) in the spelling of the tables."""
    artist, genre = (normalize_name(name or "", config.label_rules) for name in (song.artist, song.genre))
    return artist, genre.split("_")[: config.genre_words] if config.label_rules == "v2" else [genre]


def _reuse_rows(
    kind: str, table: Mapping[str, int], num_rows: int, wanted: Counter[str], rules: str
) -> tuple[dict[str, int], list[tuple[str, str, list[str]]]]:
    """Return the table with rows for all `wanted` names, and the old names that each new one replaces."""
    written = {name: normalize_name(name, rules) for name in table}
    existing = set(written.values())
    new = sorted((name for name in wanted if name not in existing), key=lambda name: (-wanted[name], name))

    unused = sorted(set(range(1, num_rows)) - set(table.values()))
    needed = {table[name] for name in table if written[name] in wanted} | {UNKNOWN_ID}
    idle = sorted(set(table.values()) - needed, reverse=True)
    rows = unused + idle
    if len(new) > len(rows):
        raise ValueError(
            f"The data has {len(wanted)} {kind}s, but the model has only {num_rows - 1} rows for names; use fewer "
            f"{kind}s, or train a new prior."
        )
    assigned = dict(zip(new, rows, strict=False))
    reassigned = set(assigned.values())
    kept = {name: index for name, index in table.items() if index not in reassigned}
    replaced = [
        (kind, name, sorted(old for old, index in table.items() if index == row))
        for name, row in assigned.items()
        if row in idle
    ]
    return kept | assigned, replaced
