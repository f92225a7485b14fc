"""The options that several commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from .files import read_text
from .terminal import ProgressStyle

T = TypeVar("T", int, float)
BY_LEVEL = "one number, or one a level with commas, finest first"


def _hush(quiet: bool) -> bool:
    """Take the bars away that the libraries show while they load a model."""
    if quiet:
        from diffusers.utils import logging as of_diffusers
        from transformers.utils import logging as of_transformers

        of_diffusers.disable_progress_bar()
        of_transformers.disable_progress_bar()
    return quiet


Run = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the run.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Folder or Hub repository; the demo model by default.")]
RunModel = Annotated[str | None, typer.Option(help="Folder or Hub repository, if the model is no longer where it was.")]
Artist = Annotated[str | None, typer.Option(help="Artist, as the model knows it.")]
Genre = Annotated[str | None, typer.Option(help="Genre, as the model knows it.")]
Lyrics = Annotated[str | None, typer.Option(help=r"Lyrics of the whole song; \n begins a new line.")]
LyricsFile = Annotated[Path | None, typer.Option(help="Lyrics from a text or .lrc file.")]
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
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")]
Dtype = Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_hush, help="Say nothing but what is wrong.")]
Style = Annotated[ProgressStyle, typer.Option("--progress", help="Bars for people, or JSON lines for programs.")]


def draw_options(
    temperature: str | None, top_k: str | None, top_p: str | None, hop_fraction: str | None
) -> dict[str, Any]:
    """How codes are drawn, of the options that are given."""
    given = {
        "temperature": _numbers("--temperature", temperature, float),
        "top_k": _numbers("--top-k", top_k, int),
        "top_p": _numbers("--top-p", top_p, float),
        "hop_fraction": _numbers("--hop-fraction", hop_fraction, float),
    }
    return {name: value for name, value in given.items() if value is not None}


def level_list(levels: str | None) -> list[int] | None:
    """The levels of `--levels`."""
    return None if levels is None else _number_list("--levels", levels, int)


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


def _number_list(name: str, text: str, kind: type[T]) -> list[T]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{name} takes {BY_LEVEL}, not {text!r}.") from error


def _numbers(name: str, text: str | None, kind: type[T]) -> T | Sequence[T] | None:
    if text is None:
        return None
    values = _number_list(name, text, kind)
    return values[0] if len(values) == 1 else values
