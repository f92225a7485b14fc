"""Label rows in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .vocabulary import LevelVocabulary, names_of

NO_GENRE = -1
"""Value of an empty genre slot."""


@dataclass(frozen=True)
class DecodedLabels:
    """A label row in words; lengths in raw samples.

    Names that share an id, and the words of a v2 genre, are joined by `_`. The lyrics are those of the window.
    """

    artist: str
    genre: str
    lyrics: str
    total_length: int
    offset: int
    window_length: int


def decode_row(row: Sequence[int], vocabulary: LevelVocabulary) -> DecodedLabels:
    """Return the words of a label row `[label_length]`."""
    columns = vocabulary.label_columns
    return DecodedLabels(
        artist=names_of(row[columns.artist], vocabulary.artists),
        genre="_".join(names_of(genre, vocabulary.genres) for genre in row[columns.genres] if genre != NO_GENRE),
        lyrics="".join(vocabulary.alphabet[token - 1] for token in row[columns.lyrics] if token > 0),
        total_length=row[columns.total_length],
        offset=row[columns.offset],
        window_length=row[columns.window_length],
    )
