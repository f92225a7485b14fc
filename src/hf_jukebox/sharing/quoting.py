"""Quoting of names and texts of others in cards: as Markdown, as Python and for a shell."""

from __future__ import annotations

import json
import re
import shlex

_SPECIAL = re.compile(r"[\\`*\[~|]|(?<!\w)_|_(?!\w)")
_AT_START = re.compile(r"^(\d*)([#+.)-])(?=[\s#-]|$)")  # of a heading, an item of a list or a line


def as_words(text: str) -> str:
    """Return Markdown that shows a text as it is, in one line: no markup of its own and no HTML."""
    text = _SPECIAL.sub(r"\\\g<0>", _one_line(text))
    text = _AT_START.sub(r"\1\\\2", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_code(text: str) -> str:
    """Return Markdown that shows a text as code within a line."""
    text = _one_line(text)
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{ticks} {text} {ticks}"


def as_python(text: str) -> str:
    """Return a Python literal of a text."""
    return json.dumps(text, ensure_ascii=False)


def as_argument(text: str) -> str:
    """Return a text as an argument of a command in a shell, in one line, for a block of Markdown."""
    return shlex.quote(_one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
