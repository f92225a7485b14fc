"""Conversion of the settings of other implementations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..presets import ALPHABET_V2, ALPHABET_V3

Settings = Mapping[str, Any]

_ALPHABETS = {len(alphabet) + 1: alphabet for alphabet in (ALPHABET_V2, ALPHABET_V3)}  # 0 is the unknown character


@contextmanager
def errors_in_settings(path: Path) -> Iterator[None]:
    """Raise errors about settings as one ValueError that starts with the `path` of the file that holds them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).rstrip('.')}.") from error
    except (TypeError, AttributeError, KeyError, OverflowError) as error:  # a list for a number, and the like
        raise ValueError(f"{path}: one of its settings is of another type than it should be ({error}).") from error


def rename_settings(settings: Settings, required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    """Rename `settings` from their names to ours; optional ones may be missing or None.

    Raises:
        ValueError: required settings are missing.
    """
    missing = [theirs for theirs in required.values() if settings.get(theirs) is None]
    if missing:
        raise ValueError(f"its settings lack {', '.join(missing)}")
    return {
        ours: settings[theirs] for ours, theirs in (required | optional).items() if settings.get(theirs) is not None
    }


def alphabet_of(characters: int) -> str:
    """Return the published alphabet of that many characters, including the unknown one.

    Raises:
        ValueError: neither published alphabet has that many.
    """
    if characters not in _ALPHABETS:
        sizes = " and ".join(map(str, sorted(_ALPHABETS)))
        raise ValueError(f"lyrics of {characters} characters, but the published alphabets have {sizes}")
    return _ALPHABETS[characters]


def check_ids(table: Mapping[str, int], path: Path, rows: int) -> None:
    """Check that the ids of a table, read from `path`, are below the `rows` of the model's table.

    Raises:
        ValueError: an id is too large.
    """
    largest = max(table.values(), default=0)
    if largest >= rows:
        raise ValueError(f"{path} goes up to id {largest}, but the model has ids below {rows}; give its own tables.")
