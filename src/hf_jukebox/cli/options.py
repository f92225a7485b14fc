"""The options that several commands have, and how their values are read and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..files.text import read_text, user_path
from .devices import check_device_name, check_dtype
from .progress import ProgressStyle

T = TypeVar("T", int, float)
BY_LEVEL = "one number, or one a level with commas, finest first"
_MOST_LEVELS = 3  # that a pipeline has places for
_SEEDS = range(-(2**63), 2**64)  # that a generator of torch takes


def _path(text: str) -> Path:
    return user_path(text)


def a_path(*names: str, metavar: str = "PATH", **settings: Any) -> Any:
    """Return an option that takes a path, with a leading `~` expanded, which shells do only at the start of a word."""
    return typer.Option(*names, parser=_path, metavar=metavar, **settings)


def path_argument(metavar: str = "PATH", **settings: Any) -> Any:
    """Return an argument that takes paths as `a_path` does."""
    return typer.Argument(parser=_path, metavar=metavar, **settings)


Run = Annotated[Path, path_argument("DIR", help="Folder of the run.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Folder or Hub repository; the demo model by default.")]
RunModel = Annotated[str | None, typer.Option(help="Folder or Hub repository, if the model is no longer where it was.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of the Hub repository.")]
LowMemory = Annotated[bool, typer.Option("--low-memory", help="Leave the priors on disk until each is drawn with.")]
Artist = Annotated[str | None, typer.Option(help="Artist, as the model knows it.")]
Genre = Annotated[str | None, typer.Option(help="Genre, as the model knows it.")]
Lyrics = Annotated[str | None, typer.Option(help=r"Lyrics of the whole song; \n begins a new line.")]
LyricsFile = Annotated[Path | None, a_path(help="Lyrics from a text or .lrc file.")]
TotalSeconds = Annotated[float | None, typer.Option(help="Length of the song that this is a part of.")]
Temperature = Annotated[str | None, typer.Option(help=f"Below 1 is safer, above wilder: {BY_LEVEL}.")]
TopK = Annotated[str | None, typer.Option(help=f"Keep the k most likely codes: {BY_LEVEL}; 0 keeps all.")]
TopP = Annotated[str | None, typer.Option(help=f"Keep the most likely codes up to this sum: {BY_LEVEL}.")]
HopFraction = Annotated[str | None, typer.Option(help=f"Hop from window to window: {BY_LEVEL}.")]
Levels = Annotated[str | None, typer.Option(help="Levels to draw with commas, such as 2 or 2,1.")]
Upsampling = Annotated[str, typer.Option(help="sequential, or parallel: faster, with seams (docs/performance.md).")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the decode step first; pays for pieces of minutes.")]
MaxBatchSize = Annotated[int | None, typer.Option(help="Songs drawn at a time; all that fit into memory by default.")]
Seed = Annotated[int | None, typer.Option(help="Makes a run repeatable.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps, cpu, or gpu for either; the best there is by default.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Style = Annotated[ProgressStyle, typer.Option("--progress", help="Bars for people, or JSON lines for programs.")]


def sampling_options(
    temperature: str | None, top_k: str | None, top_p: str | None, hop_fraction: str | None
) -> dict[str, Any]:
    """Return how codes are drawn, of the options that are given.

    Raises:
        ValueError: one is no number, or out of range.
    """
    given = {
        "temperature": _numbers("--temperature", temperature, float),
        "top_k": _numbers("--top-k", top_k, int),
        "top_p": _numbers("--top-p", top_p, float),
        "hop_fraction": _numbers("--hop-fraction", hop_fraction, float),
    }
    greedy = "to draw greedily use --temperature 1 --top-k 1"
    _check_each("--temperature", given["temperature"], lambda x: 0 < x < math.inf, f"must be above 0; {greedy}")
    _check_each("--top-k", given["top_k"], lambda x: x >= 0, "must be 0 (off) or a number of codes")
    _check_each("--top-p", given["top_p"], lambda x: 0 <= x < 1, "must be 0 (off) or lie between 0 and 1")
    _check_each("--hop-fraction", given["hop_fraction"], lambda x: 0 < x <= 1, "must be above 0 and at most 1")
    _check_one_limit(given["top_k"] or [], given["top_p"] or [])
    return {name: values[0] if len(values) == 1 else values for name, values in given.items() if values is not None}


def level_list(levels: str | None) -> list[int] | None:
    """Return the levels of `--levels`.

    Raises:
        ValueError: one is none that a pipeline can have.
    """
    if levels is None:
        return None
    try:
        numbers = [int(part) for part in levels.split(",")]
    except ValueError:
        numbers = [-1]
    if not set(numbers) <= set(range(_MOST_LEVELS)):
        last = _MOST_LEVELS - 1
        raise ValueError(
            f"--levels takes numbers from 0, the finest, to {last}, such as {last} or {last},1; not {levels!r}."
        )
    return numbers


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
    """Refuse lengths, counts and seeds that no model can work with.

    Raises:
        ValueError: which option, and what it takes.
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
        raise ValueError(f"--seed must be at least -2**63 and less than 2**64, not {seed}.")


def check_choices(device: str | None, dtype: str | None, upsampling: str = "sequential") -> None:
    """Refuse names that are none, without a look at the machine.

    Raises:
        ValueError: which, and what there is.
    """
    check_device_name(device)
    check_dtype(dtype)
    if upsampling not in ("sequential", "parallel"):
        raise ValueError(f"--upsampling must be sequential or parallel, not {upsampling!r}.")


def read_lyrics(lyrics: str | None, lyrics_file: Path | None) -> str | None:
    r"""Lyrics from the one option or the other; in those of the command line a typed `\n` begins a new line.

    Raises:
        OSError, ValueError: both are given, or the file cannot be read.
    """
    if lyrics_file is None:
        return None if lyrics is None else lyrics.replace(r"\n", "\n")
    if lyrics is not None:
        raise ValueError("Give the lyrics as --lyrics or as --lyrics-file, not both.")
    return read_text(lyrics_file)


def refuse_with_requests(**given: Any) -> None:
    """Refuse options that a file of songs answers itself."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if names:
        raise ValueError(f"{', '.join(names)} cannot go with --requests; say it for each song in the file.")


def repeated(prompts: Sequence[Path], num_samples: int | None) -> list[Path]:
    """Return the prompts in turn until there are as many as songs to draw; one song of each by default.

    Raises:
        ValueError: some prompts would be used more often than others.
    """
    count = len(prompts) if num_samples is None else num_samples
    if count % len(prompts):
        few = len(prompts)
        raise ValueError(
            f"--num-samples {count} cannot be shared evenly by {few} prompts; give a multiple of {few}, such as {few} "
            f"or {2 * few}."
        )
    return list(prompts) * (count // len(prompts))


def _numbers(name: str, text: str | None, kind: type[T]) -> list[T] | None:
    if text is None:
        return None
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= _MOST_LEVELS:
        raise ValueError(f"{name} takes {BY_LEVEL}, not {text!r}.")
    return numbers


def _check_each(name: str, values: Sequence[T] | None, is_right: Callable[[T], bool], rule: str) -> None:
    wrong = [value for value in values or [] if not is_right(value)]
    if wrong:
        rule, _, advice = rule.partition(";")
        raise ValueError(f"{name} {rule}, not {wrong[0]:g}{';' if advice else ''}{advice}.")


def _check_one_limit(top_k: Sequence[float], top_p: Sequence[float]) -> None:
    """Refuse two limits for the same level; a single number is for all levels."""
    columns = [values * _MOST_LEVELS if len(values) == 1 else values for values in (list(top_k), list(top_p))]
    if any(k and p for k, p in zip_longest(*columns, fillvalue=0.0)):
        raise ValueError("Use --top-k or --top-p, not both.")
