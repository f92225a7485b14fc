"""The commands that continue a run: resume, continue, upsample, pick."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console.lines import write_line
from ..console.signals import work_to_keep
from .checks import (
    check_catalogue,
    check_files,
    check_model_options,
    check_no_run,
    check_run,
    check_run_and_model,
    check_run_model,
    check_writable,
    find_given_device,
    unused_folder,
)
from .listening import check_listening
from .models import load_pipeline, load_run_pipeline, load_song_pipeline
from .options import (
    LabelOptions,
    Levels,
    ListenOptions,
    MaxBatchSize,
    ModelOptions,
    OutputOptions,
    RunFolder,
    RunModelOptions,
    Seed,
    path_argument,
    path_option,
    with_options,
)
from .terminal import command_errors, sampling_to
from .values import check_numbers, read_labels, read_level_options, read_levels

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline
    from ..runs.folder import JukeboxRun

_SONG_FILES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


@with_options
def resume(
    run_dir: RunFolder,
    max_batch_size: MaxBatchSize = None,
    avoid: Annotated[
        Path | None,
        path_option(help="Place of the catalogue that the run avoids, if it has moved.", metavar="CATALOGUE"),
    ] = None,
    *,
    model: RunModelOptions,
    shown: OutputOptions,
    listen: ListenOptions,
) -> None:
    """Resume a run where it stopped, with the same codes as if it had never stopped."""
    with command_errors(run_dir, shown.quiet):
        check_numbers(max_batch_size=max_batch_size)
        check_listening(listen, shown.progress)
        if avoid is not None:
            check_catalogue(avoid)
        pipeline = _run_pipeline(run_dir, model, shown)
        with sampling_to(run_dir, shown, listen) as callbacks:
            pipeline.resume_run(run_dir, max_batch_size=max_batch_size, avoid=avoid, output_type="latent", **callbacks)


@with_options
def continue_(
    source: Annotated[
        Path, path_argument("DIR|FILE", help="Folder of the run, or a song file that was exported.", show_default=False)
    ],
    seconds: Annotated[float, typer.Option(help="Length of the whole result, including the codes there are.")],
    num_samples: Annotated[int, typer.Option(help="Candidates per song, to pick one from.")] = 1,
    levels: Levels = None,
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder, for a song file.", show_default="its name")
    ] = None,
    *,
    labels: LabelOptions,
    max_batch_size: MaxBatchSize = None,
    seed: Seed = None,
    model: RunModelOptions,
    shown: OutputOptions,
    listen: ListenOptions,
    **level_options: Any,
) -> None:
    """Extend a finished run, or the song in a wav or flac file that was exported.

    Options you leave out keep their previous values; those you set apply from here on.
    """
    is_run = source.is_dir() or source.suffix.lower() not in _SONG_FILES
    run_dir = source if is_run else unused_folder(source.stem) if output is None else output
    with command_errors(run_dir, shown.quiet):
        check_numbers(seconds=seconds, num_samples=num_samples)
        check_listening(listen, shown.progress, read_levels(levels))
        overrides = _read_overrides(labels, max_batch_size, seed, level_options) | {"levels": read_levels(levels)}
        if not is_run:
            with _opened_song(source, run_dir, model, shown) as pipeline:
                _continue(pipeline, run_dir, seconds, num_samples, seed, overrides, shown, listen)
            return
        if output is not None:
            raise ValueError(f"--output is for song files; {source} is a run, which is continued in its folder.")
        pipeline = _run_pipeline(run_dir, model, shown, partial(_check_can_go_on, seconds=seconds))
        _continue(pipeline, run_dir, seconds, num_samples, seed, overrides, shown, listen)


def _continue(
    pipeline: JukeboxPipeline,
    run_dir: Path,
    seconds: float,
    num_samples: int,
    seed: int | None,
    overrides: dict[str, Any],
    shown: OutputOptions,
    listen: ListenOptions,
) -> None:
    overrides |= generator(seed) | {"num_waveforms_per_prompt": num_samples, "output_type": "latent"}
    with sampling_to(run_dir, shown, listen) as callbacks:
        pipeline.continue_run(run_dir, seconds, **callbacks, **overrides)


def _run_pipeline(
    run_dir: Path,
    model: RunModelOptions,
    shown: OutputOptions,
    check: Callable[[JukeboxRun], None] = lambda run: None,
) -> JukeboxPipeline:
    """Check a run and the options of its model, and load its pipeline.

    Args:
        check: Checks the run too; with several processes the pipeline does it.
    """
    model = model.on_device(check_run_and_model(run_dir, model))
    if "LOCAL_RANK" not in os.environ:
        from ..runs.folder import JukeboxRun

        with JukeboxRun.open_for_writing(run_dir) as run:  # no other process writes it
            check(run)
    return load_run_pipeline(run_dir, model, quiet=shown.quiet)


def _check_can_go_on(run: JukeboxRun, seconds: float | None = None) -> None:
    from ..runs.actions import check_can_go_on

    check_can_go_on(run, seconds)


@contextmanager
def _opened_song(source: Path, run_dir: Path, model: ModelOptions, shown: OutputOptions) -> Iterator[JukeboxPipeline]:
    """Write the song of a file as a run, and yield its pipeline; remove the run if it cannot be continued."""
    check_files([source])
    check_run_model(model)
    check_writable(run_dir)
    device = find_given_device(model.device)
    from ..runs.contents import RunReader
    from ..runs.song_files import read_song

    song = read_song(source)
    pipeline = load_song_pipeline(song, model.on_device(device), quiet=shown.quiet)
    song.write_run(run_dir)
    try:
        yield pipeline
    except ValueError:
        if len(RunReader.open(run_dir).steps) == 1:  # nothing of it is new
            shutil.rmtree(run_dir)
        raise


@with_options
def upsample(
    source: Annotated[
        Path,
        path_argument(help="Folder of a run, a song file that was exported, or a data.pth.tar of the published code."),
    ],
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder, for a file; that of a song file has its name.")
    ] = None,
    *,
    labels: LabelOptions,
    max_batch_size: MaxBatchSize = None,
    seed: Seed = None,
    model: RunModelOptions,
    shown: OutputOptions,
    listen: ListenOptions,
    **level_options: Any,
) -> None:
    """Sample the levels below those of a finished run, or below the codes of a song file or a data.pth.tar."""
    is_song = not source.is_dir() and source.suffix.lower() in _SONG_FILES
    run_dir = output or (unused_folder(source.stem) if is_song else source)
    with command_errors(run_dir, shown.quiet):
        overrides = _read_overrides(labels, max_batch_size, seed, level_options)
        check_listening(listen, shown.progress)
        if is_song:
            with _opened_song(source, run_dir, model, shown) as pipeline:
                _upsample(pipeline, run_dir, seed, overrides, shown, listen)
            return
        if output is not None and source.is_dir():
            raise ValueError(f"--output is for files; {source} is a run, which is upsampled in its folder.")
        if output is not None or source.suffix:
            check_files([source])
        if output is not None:
            _upsample_file(source, output, overrides, seed, model, shown, listen)
            return
        if source.is_file():
            raise ValueError(f"{source} is a file; give a folder for the result with --output.")
        pipeline = _run_pipeline(source, model, shown, _check_can_go_on)
        _upsample(pipeline, source, seed, overrides, shown, listen)


def _upsample(
    pipeline: JukeboxPipeline,
    run_dir: Path,
    seed: int | None,
    overrides: dict[str, Any],
    shown: OutputOptions,
    listen: ListenOptions,
) -> None:
    overrides |= generator(seed)
    with sampling_to(run_dir, shown, listen) as callbacks:
        pipeline.upsample_run(run_dir, output_type="latent", **callbacks, **overrides)


def pick(
    run_dir: RunFolder,
    number: Annotated[int, typer.Argument(metavar="N", help="Candidate to keep: the N of its item_N.wav.")],
) -> None:
    """Pick one of several candidates; all are kept in DIR/earlier."""
    with command_errors():
        check_run(run_dir)
        from ..runs.actions import pick_candidate

        with work_to_keep():
            pick_candidate(run_dir, number)
        write_line(f"Picked candidate {number}, now item_0.wav. All candidates are kept in {run_dir / 'earlier'}.")


def generator(seed: int | None) -> dict[str, Any]:
    """Return the pipeline's argument `generator`, if a seed is given."""
    import torch

    return {} if seed is None else {"generator": torch.Generator().manual_seed(seed)}


def _read_overrides(
    labels: LabelOptions, max_batch_size: int | None, seed: int | None, level_options: dict[str, str | None]
) -> dict[str, Any]:
    """Read the options that replace those of the step before."""
    check_numbers(max_batch_size=max_batch_size, seed=seed)
    size = {} if max_batch_size is None else {"max_batch_size": max_batch_size}
    return read_labels(labels) | size | read_level_options(level_options)


def _upsample_file(
    source: Path,
    output: Path,
    overrides: dict[str, Any],
    seed: int | None,
    model: ModelOptions,
    shown: OutputOptions,
    listen: ListenOptions,
) -> None:
    """Sample the levels below the codes of a file of the published code, as a new run."""
    check_model_options(model)
    check_writable(output)
    model = model.on_device(find_given_device(model.device))
    from ..convert.openai_codes import levels_to_upsample, read_published_codes

    codes = read_published_codes(source)
    check_no_run(output)
    pipeline = load_pipeline(model, quiet=shown.quiet)
    levels = levels_to_upsample(codes, pipeline.hierarchy)
    if not any(name in overrides for name in ("artist", "genre", "lyrics", "total_length_in_s")):
        warnings.warn(
            f"The labels in {source} are not read; set them with --artist, --genre, --lyrics and --total-seconds.",
            stacklevel=1,
        )
    overrides |= generator(seed)
    with sampling_to(output, shown, listen) as callbacks:
        pipeline(codes=codes, levels=levels, output_dir=output, output_type="latent", **callbacks, **overrides)
