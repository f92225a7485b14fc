"""Reading the settings of another implementation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..presets import ALPHABET_V2, ALPHABET_V3

Settings = Mapping[str, Any]

_ALPHABETS = {len(alphabet) + 1: alphabet for alphabet in (ALPHABET_V2, ALPHABET_V3)}  # 0 is the unknown character


def chosen(settings: Settings, required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    """Our names with the values that `settings` has under theirs; optional ones may be missing or None.

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
    """The published alphabet of that many characters, the unknown one included.

    Raises:
        ValueError: neither published alphabet has that many.
    """
    if characters not in _ALPHABETS:
        known = " and ".join(map(str, sorted(_ALPHABETS)))
        raise ValueError(f"lyrics of {characters} characters, but the published alphabets have {known}")
    return _ALPHABETS[characters]


def check_ids(table: Mapping[str, int], path: Path, rows: int) -> None:
    """Raise a ValueError if a table of names, read from `path`, has ids that a model of `rows` ids does not know."""
    largest = max(table.values(), default=0)
    if largest >= rows:
        raise ValueError(f"{path} goes up to id {largest}, but the model knows ids below {rows}; give its own tables.")
