"""Values of options, read and checked before anything slow is imported or loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.text import read_text
from ..sampling.options import SamplingSettings, check_hop_fraction
from .devices import check_device_name, check_dtype
from .options import PER_LEVEL, LabelOptions, level_options

MOST_LEVELS = 3  # that a pipeline may have
_SEEDS = range(2**64)  # those of a file of songs


def read_level_options(given: Mapping[str, str | None]) -> dict[str, Any]:
    """Read the options with one value for all levels or one per level; leave out those that are not given.

    Raises:
        ValueError: a value is not a number, or out of range.
    """
    values = {
        name: _numbers(option_name(name), text, kind)
        for name, (kind, _) in level_options().items()
        if (text := given.get(name)) is not None
    }
    for level in range(MOST_LEVELS):
        settings: dict[str, Any] = {name: _at_level(numbers, level) for name, numbers in values.items()}
        check_hop_fraction(settings.pop("hop_fraction", None))
        SamplingSettings(**{name: value for name, value in settings.items() if value is not None})
    return {name: numbers[0] if len(numbers) == 1 else numbers for name, numbers in values.items()}


def read_levels(levels: str | None) -> list[int] | None:
    """Return the levels that `--levels` names.

    Raises:
        ValueError: one of them is not a level that a pipeline can have.
    """
    if levels is None:
        return None
    try:
        numbers = [int(part) for part in levels.split(",")]
    except ValueError:
        numbers = [-1]
    if not set(numbers) <= set(range(MOST_LEVELS)):
        last = MOST_LEVELS - 1
        raise ValueError(
            f"--levels takes numbers from 0, the finest, to {last}, such as {last} or {last},1; not {levels!r}."
        )
    return numbers


def read_labels(options: LabelOptions) -> dict[str, Any]:
    """Return the labels that are given, by their names in Python.

    Raises:
        OSError, ValueError: the length is out of range, the lyrics are given twice, or their file cannot be read.
    """
    check_numbers(total_seconds=options.total_seconds)
    labels = {
        "artist": options.artist,
        "genre": options.genre,
        "lyrics": read_lyrics(options.lyrics, options.lyrics_file),
        "total_length_in_s": options.total_seconds,
    }
    return {name: value for name, value in labels.items() if value is not None}


def read_lyrics(lyrics: str | None, lyrics_file: Path | None) -> str | None:
    r"""Return lyrics from either option; `\n` typed on the command line begins a new line.

    Raises:
        OSError, ValueError: both are given, or the file cannot be read.
    """
    if lyrics_file is None:
        return None if lyrics is None else lyrics.replace(r"\n", "\n")
    if lyrics is not None:
        raise ValueError("Give the lyrics as --lyrics or as --lyrics-file, not both.")
    return read_text(lyrics_file)


def repeat_prompts(prompts: Sequence[Path], num_samples: int | None) -> list[Path]:
    """Repeat the prompts in turn, up to the number of songs to sample; by default one song per prompt.

    Raises:
        ValueError: some prompts would be used more often than others.
    """
    count = len(prompts) if num_samples is None else num_samples
    if count % len(prompts):
        few = len(prompts)
        raise ValueError(
            f"--num-samples {count} cannot be divided evenly among {few} prompts; give a multiple of {few}, such as "
            f"{few} or {2 * few}."
        )
    return list(prompts) * (count // len(prompts))


def check_numbers(
    *,
    seconds: float | None = None,
    prompt_seconds: float | None = None,
    total_seconds: float | None = None,
    offset_seconds: float = 0.0,
    num_samples: int | None = None,
    max_batch_size: int | None = None,
    seed: int | None = None,
) -> None:
    """Check lengths, counts and seeds without a model.

    Raises:
        ValueError: no model can work with a value.
    """
    lengths = {"--seconds": seconds, "--prompt-seconds": prompt_seconds, "--total-seconds": total_seconds}
    for name, length in lengths.items():
        if length is not None and not 0 < length < math.inf:
            raise ValueError(f"{name} must be a number of seconds above 0, not {length:g}.")
    if not 0 <= offset_seconds < math.inf:
        raise ValueError(f"--offset-seconds must be a number of seconds, at least 0, not {offset_seconds:g}.")
    for name, count in {"--num-samples": num_samples, "--max-batch-size": max_batch_size}.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}.")
    if seed is not None and seed not in _SEEDS:
        raise ValueError(f"--seed must be at least 0 and less than 2**64, not {seed}.")


def check_choices(device: str | None, dtype: str, upsampling: str = "sequential") -> None:
    """Check the names of a device, a precision and a way of upsampling, without importing torch.

    Raises:
        ValueError: there is no such name; the message lists the names.
    """
    check_device_name(device)
    check_dtype(dtype)
    if upsampling not in ("sequential", "parallel"):
        raise ValueError(f"--upsampling must be sequential or parallel, not {upsampling!r}.")


def refuse_with_requests(**given: Any) -> None:
    """Refuse options that a file of songs sets itself.

    Raises:
        ValueError: one of them is given.
    """
    names = [option_name(name) for name, value in given.items() if value]
    if names:
        raise ValueError(f"{', '.join(names)} cannot be combined with --requests; set it per song in the file.")


def option_name(name: str) -> str:
    """Return the option of a parameter: `--top-k` for `top_k`."""
    return f"--{name.replace('_', '-')}"


def _at_level(numbers: Sequence[float], level: int) -> float | None:
    """Return the number of a level; a single number is for all levels."""
    return numbers[0] if len(numbers) == 1 else dict(enumerate(numbers)).get(level)


def _numbers(option: str, text: str, kind: type[Any]) -> list[int | float]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= MOST_LEVELS:
        raise ValueError(f"{option} takes {PER_LEVEL}, not {text!r}.")
    return numbers
