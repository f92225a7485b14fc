"""Validation of `request.json`: every value is checked before it is used, whoever wrote the file.

Pydantic checks types, ranges and unknown keys, from the annotations of the dataclasses; this module checks the
relations between values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from .record import FORMAT_VERSION, RunStep, steps_to_bytes

_MOST_BYTES = 2**26
_MOST_STEPS = 10_000
_MOST_CHARACTERS = 60  # of a value that a message quotes


class _RequestFile(BaseModel):
    """Content of the file in the current format."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format_version: int
    steps: list[RunStep] = Field(min_length=1, max_length=_MOST_STEPS)


def read_steps(path: Path) -> list[RunStep]:
    """Read the steps of a run, the last one being the current.

    Raises:
        FileNotFoundError: there is no run.
        OSError: the file cannot be read.
        ValueError: a value of the file is wrong, or it was written by a newer version; the message says which.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no run: there is no {path.name}; make one with hf-jukebox sample."
        )
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is damaged: it takes more than {_MOST_BYTES >> 20} MB; put back a copy of it.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    return parse_steps(content, path)


def parse_steps(text: bytes | str, path: Path) -> list[RunStep]:
    """Read the steps of a run from JSON; `path` is the file that messages name.

    Raises:
        ValueError: see `read_steps`.
    """
    try:
        content = from_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {str(error).rstrip('.')}; put back a copy of it.") from error
    try:
        return _checked(content, path)
    except _WrongValue as error:
        raise ValueError(f"{path} is damaged: {error}; put back a copy of it.") from error


def check_steps(steps: Sequence[RunStep], path: Path) -> None:
    """Check that steps can be read again, before they are written to `path`.

    Raises:
        ValueError: a value could not be; the message says which.
    """
    try:
        _checked(from_json(steps_to_bytes(steps)), path)
    except _WrongValue as error:
        raise ValueError(f"{path} could not be read again: {error}; give another value.") from error


def _checked(content: Any, path: Path) -> list[RunStep]:
    """Return the steps in the content of a file.

    Raises:
        _WrongValue: a value is wrong.
        ValueError: it was written by a newer version.
    """
    try:
        steps = _RequestFile.model_validate_json(to_json(_upgraded(content, path))).steps
    except ValidationError as error:
        raise _WrongValue(_describe(error.errors()[0])) from error
    for number, step in enumerate(steps):
        _check(step, steps[number - 1] if number else None, f"steps[{number}]")
    return steps


class _WrongValue(Exception):
    """Error for a value that contradicts others, as `field: what it should be`."""


def _upgraded(content: Any, path: Path) -> Any:
    """Convert the content to the current format; its values are checked afterwards."""
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise _WrongValue("format_version: it should be a number")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} was written by a newer hf_jukebox (its format is {min(version, 10**6)}, this one reads up to "
            f"{FORMAT_VERSION}); update hf_jukebox."
        )
    steps = content.get("steps")
    for step in steps if isinstance(steps, list) else []:
        request = step.get("request") if isinstance(step, dict) else None
        if isinstance(request, dict) and "batch_size" in request:  # format 1 had separate limits for songs and segments
            del request["batch_size"]
            request["max_batch_size"] = request.pop("segments_at_a_time", None)
    return content


def _check(step: RunStep, before: RunStep | None, name: str) -> None:
    for field, holds, wanted in _relations(step, before):
        if not holds:
            raise _WrongValue(f"{name}.{field}: {wanted}")


def _relations(step: RunStep, before: RunStep | None) -> Iterator[tuple[str, bool, str]]:
    """Yield the relations between the values of a step: field, whether the relation holds, and what it should be.

    Each is evaluated only if all those before it hold.
    """
    request, hops = step.request, step.model.hop_lengths
    songs, levels = len(request.songs), range(len(hops))
    multiples = all(coarse % fine == 0 and coarse > fine for fine, coarse in pairwise(hops))
    yield "model.hop_lengths", multiples, "each should be a multiple of the one before it"
    for field, values in (
        ("known", step.known),
        ("request.hops", request.hops),
        ("request.settings", request.settings),
    ):
        yield field, len(values) == len(hops), f"it should have one entry per level, {len(hops)} in all"
    yield "request.levels", set(request.levels) <= set(levels), f"levels lie between 0 and {len(hops) - 1}"
    if request.avoid is not None:
        yield "request.avoid.longest", len(request.avoid.longest) == len(hops), "it should have one entry per level"
    descend = all(a > b for a, b in pairwise(request.levels))
    yield "request.levels", descend, "each level should be named once, the highest first"
    yield "request.hops", all(request.hops[level] > 0 for level in request.levels), "a sampled level has one above 0"
    for level in levels:
        total = request.top_codes * hops[-1] // hops[level]
        yield f"known[{level}]", len(step.known[level]) == songs, f"it should have one entry per song, {songs} in all"
        yield f"known[{level}]", max(step.known[level]) <= total, f"a song has at most {total} codes at this level"
    yield "rows", len(step.rows) == songs, f"it should have one entry per song, {songs} in all"
    count = songs if before is None else len(before.request.songs)
    yield "rows", max(step.rows) < count, f"the songs before are 0 to {count - 1}"
    yield "folders", _cover_songs(step, songs), "each song should be in one folder, in order, under different names"
    fits = all(part.top_codes <= request.top_codes for part in step.folders)
    yield "folders", fits, "no song should be longer than the piece"
    if before is not None:
        yield "model.hop_lengths", hops == before.model.hop_lengths, "they should be those of the step before"
        yield "folders", not step.folders, "a batch of songs has one step"


def _cover_songs(step: RunStep, songs: int) -> bool:
    """Return True if the folders, if there are any, hold each song once."""
    if not step.folders:
        return True
    ends = [-1, *(part.last for part in step.folders)]
    are_adjacent = all(part.first == end + 1 <= part.last for end, part in zip(ends, step.folders, strict=False))
    names = {part.name.casefold() for part in step.folders}
    return are_adjacent and ends[-1] == songs - 1 and len(names) == len(step.folders)


def _describe(error: ErrorDetails) -> str:
    """Return an error of pydantic as `field: what it should be, not what it is`."""
    field = _field_name(error["loc"])
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    message = message[:1].lower() + message[1:] if message.startswith(("Input", "Field", "Unexpected")) else message
    given = error["input"]
    if isinstance(given, (str, int, float)) and error["type"] not in ("json_invalid", "value_error"):
        message += f", not {_shortened(repr(given))}"
    return f"{field}: {message}" if field else message


def _field_name(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{_shortened(repr(part)[1:-1])}" for part in location]
    return "".join(parts).removeprefix(".")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
