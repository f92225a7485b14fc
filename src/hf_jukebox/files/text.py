"""Paths, text and JSON as users write them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MOST_JSON_BYTES = 2**25  # a million names; a value may take thirty times its bytes in memory


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path as the user means it: with a leading `~` expanded, which shells do only at the start of a word."""
    return Path(os.path.expanduser(path))  # unlike Path.expanduser it keeps the `~name` of somebody unknown


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file that a user wrote: UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file is missing, is a folder or cannot be read.
        ValueError: the file is not UTF-8.
    """
    path = user_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:  # UTF-16 without a byte order mark, or no text at all
            raise ValueError("it holds null characters")
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8 in your editor.") from error
    return text


def read_json(path: str | os.PathLike[str], most_bytes: int = _MOST_JSON_BYTES) -> Any:
    """Read a JSON file, which may come from anybody.

    Raises:
        OSError: the file is missing, is no regular file or cannot be read.
        ValueError: the file is not UTF-8, not JSON, nested very deeply, or larger than `most_bytes`.
    """
    place = user_path(path)
    if place.exists() and not place.is_file():
        raise OSError(f"{place} is no file, but a folder or a device; give a JSON file.")
    if place.exists() and place.stat().st_size > most_bytes:
        raise ValueError(f"{place} takes {place.stat().st_size} bytes, but at most {most_bytes} are read.")
    text = read_text(place)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{place} is not JSON that this library wrote: it is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"{place} is not JSON: {str(error).rstrip('.')}.") from error


def read_json_object(path: str | os.PathLike[str], most_bytes: int = _MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a file that holds a JSON object, as settings are.

    Raises:
        OSError, ValueError: see [`read_json`], or the file holds something else than an object.
    """
    content = read_json(path, most_bytes)
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a JSON object, {{...}}, with settings.")
    return content


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Join names for a message: the first `limit`, then how many more there are."""
    ordered = list(names)
    more = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {more} more" if more > 0 else "")
