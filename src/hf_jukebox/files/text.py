"""Paths, text and JSON files that users write."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MOST_JSON_BYTES = 2**25  # a million names; parsed values may take thirty times as much memory


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading `~` expanded, which shells do only at the start of a word."""
    return Path(os.path.expanduser(path))  # unlike Path.expanduser, it keeps `~name` if there is no such user


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file that a user wrote: UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file is missing, is a folder or cannot be read.
        ValueError: the file is not UTF-8.
    """
    path = user_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:  # UTF-16 without a byte order mark, or a binary file
            raise ValueError("it holds null characters")
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8 in your editor.") from error
    return text


def read_json(path: str | os.PathLike[str], most_bytes: int = _MOST_JSON_BYTES) -> Any:
    """Read a JSON file, which may come from an untrusted source.

    Raises:
        OSError: the file is missing, is not a regular file or cannot be read.
        ValueError: the file is not UTF-8, not JSON, nested very deeply, or larger than `most_bytes`.
    """
    path = user_path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is a folder or a device; give a JSON file.")
    if path.exists() and path.stat().st_size > most_bytes:
        raise ValueError(f"{path} takes {path.stat().st_size} bytes; give a file of at most {most_bytes}.")
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a JSON file of this library; write it again.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {str(error).rstrip('.')}.") from error


def read_json_object(path: str | os.PathLike[str], most_bytes: int = _MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON file that must hold an object, such as settings.

    Raises:
        OSError, ValueError: see [`read_json`]; a ValueError also if the file does not hold an object.
    """
    content = read_json(path, most_bytes)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, {{...}}, with settings.")
    return content


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop, to quote it in a sentence."""
    return str(error).strip().split("\n")[0].rstrip(".")


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Join names for a message: the first `limit`, then the number of the others."""
    ordered = list(names)
    more = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {more} more" if more > 0 else "")


def text_value(value: Any) -> str:
    """Return a value of a JSON file that must be text.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is not text")
    return value


def whole_value(value: Any, most: int) -> int:
    """Return a value of a JSON file that must be a whole number from 0 to `most`.

    Raises:
        ValueError: it is something else.
    """
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.80} is not a whole number up to {most}")
    return value


def shell_command(*words: str | Path) -> str:
    """Return a command as it can be pasted into a shell."""
    return shlex.join(shell_path(word) if isinstance(word, Path) else word for word in words)


def shell_path(path: str | Path) -> str:
    """Return a path that no command takes for an option: with `./` before a dash."""
    return f"./{path}" if str(path).startswith("-") else str(path)
