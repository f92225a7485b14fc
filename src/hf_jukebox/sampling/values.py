"""Arguments that are checked and spread over songs or levels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
PerLevel: TypeAlias = T | Sequence[T]
PerSong: TypeAlias = T | Sequence[T]


def count_songs(**values: Any) -> int:
    """Return the number of songs in a batch: the length of the longest list; scalars apply to every song.

    Raises:
        ValueError: a list is empty.
    """
    lengths = {name: len(value) for name, value in values.items() if is_list(value)}
    for name, length in lengths.items():
        if length == 0:
            raise ValueError(f"`{name}` is an empty list; leave it out, or give one value per song.")
    return max([1, *lengths.values()])


def per_level(name: str, value: PerLevel[T], num_levels: int) -> list[T]:
    """Return one value per level, finest first.

    Raises:
        ValueError: a list has another length.
    """
    return _spread(name, value, num_levels, "levels of the model")


def per_song(name: str, value: PerSong[T], num_songs: int) -> list[T]:
    """Return one value per song.

    Raises:
        ValueError: a list has another length.
    """
    return _spread(name, value, num_songs, "songs of the batch")


def at_least_one(name: str, value: int) -> int:
    """Return the value if it is at least 1.

    Raises:
        ValueError: it is not a whole number, or below 1.
    """
    if whole_number(name, value) < 1:
        raise ValueError(f"`{name}` must be at least 1, not {value}.")
    return int(value)


def whole_number(name: str, value: Any) -> int:
    """Return the value of an argument that takes whole numbers, including those of numpy.

    Raises:
        ValueError: it is something else.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"`{name}` must be a whole number, not {value!r}.")


def number(name: str, value: Any) -> float:
    """Return the value of an argument that takes any number.

    Raises:
        ValueError: it is something else, such as text.
    """
    try:
        if not isinstance(value, bool | str | bytes):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"`{name}` must be a number, not {value!r}.")


def texts_per_song(name: str, value: PerSong[str | None], num_songs: int) -> list[str | None]:
    """Return one label per song.

    Raises:
        ValueError: a label is not text.
    """
    values: list[str | None] = per_song(name, value, num_songs)
    for each in values:
        if not (each is None or isinstance(each, str)):
            raise ValueError(f"`{name}` must be text or None, not {each!r}.")
    return values


def is_list(value: Any) -> bool:
    """Return True for a value with one entry per song or level."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def _spread(name: str, value: T | Sequence[T], count: int, items: str) -> list[T]:
    if not is_list(value):
        return [value] * count  # type: ignore[list-item]
    if len(value) not in (1, count):  # type: ignore[arg-type]
        raise ValueError(f"`{name}` needs one value, or one for each of the {count} {items}, not {len(value)}.")  # type: ignore[arg-type]
    return list(value) * (count // len(value))  # type: ignore[arg-type]
