"""Errors that a user reads: one sentence, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest

Errors = type[Exception] | tuple[type[Exception], ...]


def refusal(do: Callable[[], object], errors: Errors = (ValueError, OSError)) -> str:
    """Return the one sentence of the error that `do` raises."""
    with pytest.raises(errors) as raised:
        do()
    sentence = str(raised.value)
    assert "\n" not in sentence and len(sentence) < 2000
    return sentence


def refusal_to_write(folder: Path, do: Callable[[], object], errors: Errors = ValueError) -> str:
    """Return the one sentence of the error that `do` raises, and check that it leaves nothing behind in `folder`."""
    before = sorted(folder.iterdir())
    sentence = refusal(do, errors)
    assert sorted(folder.iterdir()) == before
    assert sentence.endswith(".")
    return sentence
