"""Songs of a batch as the tokenizer receives them: one value for all songs, or a list with one per song."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

Text = str | None | Sequence[str | None]
Samples = int | Sequence[int]


class Song(NamedTuple):
    """The labels of one song, and the offset of a window in it; lengths in raw samples."""

    artist: str
    genre: str
    lyrics: str
    total_length: int
    offset: int


def batch_of_songs(*, artist: Text, genre: Text, lyrics: Text, total_length: Samples, offset: Samples) -> list[Song]:
    """Return one entry per song, with single values repeated for every song.

    Raises:
        ValueError: lists of different lengths, a value of the wrong type, or a length out of range.
    """
    given = {"artist": artist, "genre": genre, "lyrics": lyrics, "total_length": total_length, "offset": offset}
    columns = {name: list(value) if isinstance(value, list | tuple) else [value] for name, value in given.items()}
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        if len(column) not in (1, count):
            raise ValueError(f"{name} lists {len(column)} values for {count} songs; give one for all, or one per song.")
        column *= count // len(column)
        columns[name] = [_samples(name, x) if name in ("total_length", "offset") else _text(name, x) for x in column]
    if min(columns["total_length"]) <= 0:
        raise ValueError(f"total_length must be above 0 samples, not {min(columns['total_length'])}.")
    if min(columns["offset"]) < 0:
        raise ValueError(f"offset must be at least 0 samples, not {min(columns['offset'])}.")
    return [Song(*values) for values in zip(*columns.values(), strict=True)]


def check_window_length(window_length: Any, songs: Sequence[Song], allow_beyond: bool) -> int:
    """Return the length of the windows, which must lie within their songs unless `allow_beyond`.

    Raises:
        ValueError: it is not a positive whole number, or a window ends after its song.
    """
    length = _samples("window_length", window_length)
    if length <= 0:
        raise ValueError(f"window_length must be above 0 samples, not {length}.")
    for song in songs:
        if song.offset + length > song.total_length and not allow_beyond:
            raise ValueError(
                f"A window of {length} samples from sample {song.offset} on ends after its song of "
                f"{song.total_length}; total_length and offset are in samples: seconds times the sampling rate."
            )
    return length


def _text(name: str, value: Any) -> str:
    if not (value is None or isinstance(value, str)):
        raise ValueError(f"{name} must be text or None, not {value!r}.")
    return value or ""


def _samples(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number of samples, not {value!r}.") from None
    if abs(count) >= 2**62:  # a label row is int64 and must hold sums of two
        raise ValueError(f"{name} is too large to be a number of samples.")
    return count
