"""The command score: how likely recordings are to a model, and under which labels."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from ..console.lines import write_line
from ..console.signals import work_to_keep
from ..sampling.options import check_hop_fraction
from .checks import check_files, check_model_options, check_writable, find_given_device
from .models import load_pipeline
from .options import LabelOptions, Levels, ModelOptions, OutputOptions, path_argument, path_option, with_options
from .progress import ProgressStyle
from .terminal import command_errors
from .values import check_numbers, read_labels, read_levels

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline

LabelKind: TypeAlias = Literal["artist", "genre"]
_KINDS: tuple[LabelKind, ...] = ("artist", "genre")


@with_options
def score(
    recordings: Annotated[list[Path], path_argument(help="Recordings to score.", show_default=False)],
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder for the figures of every code.", show_default=False)
    ] = None,
    levels: Levels = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="artist or genre: which of them makes the music likeliest? May be repeated."),
    ] = None,
    names: Annotated[str | None, typer.Option(help="Names to compare, with commas; all by default.")] = None,
    offset_seconds: Annotated[float, typer.Option(help="Start of the recordings in their songs.")] = 0.0,
    step: Annotated[float, typer.Option(help="Seconds per point of the curves.")] = 1.0,
    hop_fraction: Annotated[
        float, typer.Option(help="Hop from window to window, as a share of a window; below 1 they overlap.")
    ] = 0.5,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw the curves, as png.")] = False,
    *,
    labels: LabelOptions,
    model: ModelOptions,
    shown: OutputOptions,
) -> None:
    """Score recordings: the bits that each of their codes costs, over time, and whose music they are.

    A recording that cannot be read is named and skipped.
    """
    with command_errors(quiet=shown.quiet, on_stop="the files of the recordings before are complete"):
        check_numbers(offset_seconds=offset_seconds)
        if not 0 < step < math.inf:
            raise ValueError(f"--step must be a number of seconds above 0, not {step:g}.")
        song_labels = read_labels(labels)
        compared = _compared(compare, names, song_labels)
        options = {"levels": read_levels(levels), "hop_fraction": hop_fraction, "offset_in_s": offset_seconds}
        check_hop_fraction(hop_fraction)
        recordings = _readable(recordings)
        if plot and output is None:
            raise ValueError("--plot needs a folder for the pictures; give one with --output.")
        check_model_options(model)
        if output is not None:
            check_writable(output)
        if plot:
            from ..study.plots import check_can_plot

            check_can_plot()
        model = model.on_device(find_given_device(model.device))
        pipeline = load_pipeline(model, quiet=shown.quiet)
        with work_to_keep():
            _score_all(pipeline, recordings, output, song_labels | options, compared, step, plot, shown)


def _score_all(
    pipeline: JukeboxPipeline,
    recordings: Sequence[Path],
    output: Path | None,
    options: dict[str, Any],
    compared: dict[LabelKind, list[str] | None],
    step: float,
    plot: bool,
    shown: OutputOptions,
) -> None:
    """Score recordings one by one, and write and print the figures of each; name those that cannot be at the end.

    Raises:
        OSError, ValueError: none can be scored.
    """
    from ..study.scoring_files import save_score, summary

    errors: dict[Path, Exception] = {}
    for recording, stem in zip(recordings, unique_stems(recordings), strict=True):
        try:
            posteriors = [
                pipeline.compare_labels(recording, kind, names, **{**options, "levels": None})[0]
                for kind, names in compared.items()
            ]
            (found,) = pipeline.score(recording, **options)
        except (OSError, ValueError) as error:  # it may be too short
            errors[recording] = error
            continue
        if output is not None:
            save_score(output, stem, found, posteriors, step, plot)
        if shown.progress is ProgressStyle.JSON:
            write_line(json.dumps(summary(found, posteriors, step) | {"recording": str(recording)}))
        elif not shown.quiet:
            figures = [f"level {level} {each.bits_per_code:.3f}" for level, each in found.levels.items()]
            best = "".join(f"; {each.kind} {each.best} ({each.whole.max():.0%})" for each in posteriors)
            write_line(f"{recording}: bits per code: {', '.join(figures)}{best}")
    if len(errors) == len(recordings):  # the options may be wrong
        raise next(iter(errors.values()))
    for recording, reason in errors.items():
        warnings.warn(f"Skipped {recording}: {reason}", stacklevel=1)
    if errors:
        warnings.warn(f"{len(errors)} of {len(recordings)} recordings could not be scored.", stacklevel=1)


def _readable(recordings: Sequence[Path]) -> list[Path]:
    """Return the recordings that can be read, and warn of the others.

    Raises:
        OSError, ValueError: none can be read.
    """
    from ..audio import audio_info

    check_files(recordings)
    readable = []
    for recording in recordings:
        try:
            audio_info(recording)
            readable.append(recording)
        except (OSError, ValueError) as error:
            if len(recordings) == 1:
                raise
            warnings.warn(f"Skipping a recording that cannot be read: {error}", stacklevel=1)
    if not readable:
        raise ValueError("None of the recordings can be read; give wav, flac, ogg or mp3 files.")
    return readable


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Return the name of each file without its suffix, with a number where two are alike."""
    stems: list[str] = []
    for path in paths:
        stem, number = path.stem, 1
        while stem in stems:
            number += 1
            stem = f"{path.stem}-{number}"
        stems.append(stem)
    return stems


def _compared(
    compare: Sequence[str] | None, names: str | None, labels: dict[str, Any]
) -> dict[LabelKind, list[str] | None]:
    """Return the kinds of labels to compare, with the names of each; None for all."""
    kinds = list(dict.fromkeys(compare or []))
    for kind in kinds:
        if kind not in _KINDS:
            raise ValueError(f"--compare must be artist or genre, not {kind!r}.")
        if kind in labels:
            raise ValueError(f"--{kind} is given, so there is nothing to compare; leave out it or --compare {kind}.")
    if names is not None and len(kinds) != 1:
        raise ValueError("--names are those of one --compare; give it once.")
    given = None if names is None else [name.strip() for name in names.split(",")]
    return {kind: given for kind in _KINDS if kind in kinds}
