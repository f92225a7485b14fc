"""Commands that study recordings with a model: embed and score."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from ..console.lines import is_first_process, write_line
from ..console.signals import work_to_keep
from ..files.text import user_path
from ..sampling.options import check_hop_fraction
from .checks import check_files, check_model_options, check_writable, find_given_device
from .models import load_pipeline
from .options import LabelOptions, Levels, ModelOptions, OutputOptions, path_argument, path_option, with_options
from .progress import ProgressStyle, show_recordings
from .terminal import command_errors, error_console
from .values import check_numbers, read_labels, read_levels

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline
    from ..training.data.songs import Song

LabelKind: TypeAlias = Literal["artist", "genre"]
_KINDS: tuple[LabelKind, ...] = ("artist", "genre")
_LOW_MEMORY = "try --dtype float16, or a lower --layers"


@with_options
def embed(
    recordings: Annotated[
        list[str] | None,
        typer.Argument(help="Recordings, folders of recordings, or data sets saved to disk.", show_default=False),
    ] = None,
    output: Annotated[Path, path_option("--output", "-o", help="A new file, .parquet or .npz.")] = Path(
        "embeddings.parquet"
    ),
    dataset: Annotated[str | None, typer.Option(help="A data set of the Hub with a column audio instead.")] = None,
    dataset_config: Annotated[str | None, typer.Option(help="Its configuration.")] = None,
    split: Annotated[str, typer.Option(help="Its split.")] = "train",
    streaming: Annotated[bool, typer.Option("--streaming", help="Read it without downloading it first.")] = False,
    layers: Annotated[
        str | None, typer.Option(help="Layers of the top prior, with commas; half of its depth by default.")
    ] = None,
    pool: Annotated[
        str, typer.Option(help="mean, seconds per vector, or code for one per code; several with commas.")
    ] = "mean",
    windows: Annotated[int | None, typer.Option(help="Windows to use, from the start; all by default.")] = None,
    hop_fraction: Annotated[
        float, typer.Option(help="Hop from window to window, as a share of a window; below 1 they overlap.")
    ] = 1.0,
    compat: Annotated[str | None, typer.Option(help="jukemir for the recipe of that study.")] = None,
    *,
    model: ModelOptions,
    shown: OutputOptions,
) -> None:
    """Embed recordings by the activations of the top prior, into one parquet or npz file.

    Only the weights up to the highest layer are read. Repeat an interrupted command to continue it.
    """
    on_stop = "repeat the command to continue with what is left"
    with command_errors(quiet=shown.quiet, on_stop=on_stop, on_low_memory=_LOW_MEMORY):
        options: dict[str, Any] = {
            "layers": read_layers(layers),
            "pool": read_pools(pool),
            "windows": windows,
            "hop_fraction": hop_fraction,
            "compat": compat,
        }
        if compat not in (None, "jukemir"):
            raise ValueError(f"--compat must be jukemir, not {compat!r}.")
        if bool(recordings) == (dataset is not None):
            raise ValueError("Give recordings, or a data set with --dataset.")
        check_model_options(model)
        check_output_file(output)
        songs, total = _songs(recordings or [], dataset, dataset_config, split, streaming)
        model = replace(model.on_device(find_given_device(model.device)), low_memory=True)
        if compat is not None and model.dtype is None:
            model = replace(model, dtype="float32")
        pipeline = load_pipeline(model, quiet=shown.quiet)
        style = shown.progress if is_first_process() and not shown.quiet else ProgressStyle.NONE
        with work_to_keep(), show_recordings(style, error_console(), total) as callback:
            result = pipeline.embed_files(songs, output, callback=callback, **options)
        if style is ProgressStyle.JSON:
            counts = {"embedded": len(result.names), "skipped": result.skipped}
            write_line(json.dumps({"output": str(result.output_file), **counts}))
        elif style is ProgressStyle.BAR:
            skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
            write_line(f"{result.output_file}: {len(result.names)} recordings{skipped}")


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
    """Score recordings one by one, and write and print the figures of each."""
    from ..study.scoring_files import save_score, summary

    for recording, stem in zip(recordings, unique_stems(recordings), strict=True):
        (found,) = pipeline.score(recording, **options)
        posteriors = [
            pipeline.compare_labels(recording, kind, names, **{**options, "levels": None})[0]
            for kind, names in compared.items()
        ]
        if output is not None:
            save_score(output, stem, found, posteriors, step, plot)
        if shown.progress is ProgressStyle.JSON:
            write_line(json.dumps(summary(found, posteriors, step) | {"recording": str(recording)}))
        elif not shown.quiet:
            figures = [f"level {level} {each.bits_per_code:.3f}" for level, each in found.levels.items()]
            best = "".join(f"; {each.kind} {each.best} ({each.whole.max():.0%})" for each in posteriors)
            write_line(f"{recording}: bits per code: {', '.join(figures)}{best}")


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


def read_layers(text: str | None) -> list[int] | None:
    """Return the layers that `--layers` names.

    Raises:
        ValueError: one is not a number.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers takes numbers with commas, such as 24,36, not {text!r}.") from None


def read_pools(text: str) -> list[str | float | None]:
    """Return the poolings that `--pool` names.

    Raises:
        ValueError: one is not a pooling.
    """
    pools: list[str | float | None] = []
    for part in (part.strip() for part in text.split(",")):
        try:
            pools.append({"mean": "mean", "code": None}[part] if part in ("mean", "code") else float(part))
        except ValueError:
            pools.append(math.nan)
    if any(isinstance(pool, float) and not 0 < pool < math.inf for pool in pools):
        raise ValueError(f"--pool takes mean, code or seconds, with commas, such as mean,5; not {text!r}.")
    return pools


def check_output_file(output: Path) -> None:
    """Check that a file of embeddings can be written, before a model is loaded.

    Raises:
        OSError, ValueError: it cannot.
    """
    from ..study.embedding_files import check_output

    check_output(output)
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{folder} is no folder that can be written to; give --output another place.")


def _songs(
    paths: Sequence[str], dataset: str | None, config: str | None, split: str, streaming: bool
) -> tuple[Iterable[Song], int | None]:
    """Return the songs to embed, and their number if it is known."""
    if dataset is not None:
        hub = _datasets()
        if streaming:
            return hub.SongStream.open(dataset, config, split), None
        rows = hub.songs_on_hub(dataset, config, split)
        return rows, len(rows)
    check_files([user_path(path) for path in paths])
    songs = [song for path in paths for song in _songs_at(path, split, is_only=len(paths) == 1)]
    return songs, len(songs)


def _songs_at(path: str, split: str, is_only: bool) -> Iterator[Song]:
    from ..training.data.audio_folder import is_saved_dataset, songs_of_folder
    from ..training.data.songs import AudioFile, Song, SongMetadata

    place = user_path(path)
    if not place.is_dir():
        yield Song(SongMetadata(path), AudioFile(place))
        return
    for song in _datasets().songs_on_disk(place, split) if is_saved_dataset(place) else songs_of_folder(place):
        name = song.metadata.name
        yield song if is_only else Song(replace(song.metadata, name=f"{path.rstrip('/')}/{name}"), song.audio)


def _datasets() -> Any:
    try:
        from ..training.data import hf_datasets
    except ImportError as error:
        raise OSError(
            "Data sets need the library datasets; install it with: pip install 'hf_jukebox[train]'"
        ) from error
    return hf_datasets
