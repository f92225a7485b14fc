"""The commands that go on with a run: resume, continue, upsample, pick."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console.lines import is_first_process, write_line
from ..console.signals import work_to_keep
from .options import (
    Artist,
    Device,
    Dtype,
    Genre,
    HopFraction,
    Levels,
    LowMemory,
    Lyrics,
    LyricsFile,
    MaxBatchSize,
    Quiet,
    Revision,
    Run,
    RunModel,
    Seed,
    Style,
    Temperature,
    TopK,
    TopP,
    TotalSeconds,
    a_path,
    check_choices,
    check_numbers,
    level_list,
    path_argument,
    read_lyrics,
    sampling_options,
)
from .progress import ProgressStyle, show_progress
from .terminal import (
    check_device,
    check_model,
    check_no_run,
    check_run,
    check_writable,
    command_errors,
    error_console,
    load_pipeline,
    print_result,
    status,
)

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline
    from ..sampler import SamplingProgress


def resume(
    run_dir: Run,
    model: RunModel = None,
    revision: Revision = None,
    low_memory: LowMemory = False,
    max_batch_size: MaxBatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Go on with a run from where it stopped, with the codes of one that was never stopped."""
    with command_errors(run_dir, quiet):
        check_numbers(max_batch_size=max_batch_size)
        device = _check(run_dir, model, revision, device, dtype)
        pipeline = _load_model_of(run_dir, model, revision, low_memory, device, dtype, quiet)
        with sampling_to(run_dir, quiet, progress) as callback:
            pipeline.resume(run_dir, max_batch_size=max_batch_size, output_type="latent", callback=callback)


def continue_(
    run_dir: Run,
    seconds: Annotated[float, typer.Option(help="Length of the whole result, with what there is.")],
    num_samples: Annotated[int, typer.Option(help="Candidates of each song, to pick one from.")] = 1,
    levels: Levels = None,
    artist: Artist = None,
    genre: Genre = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    total_seconds: TotalSeconds = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    hop_fraction: HopFraction = None,
    max_batch_size: MaxBatchSize = None,
    seed: Seed = None,
    model: RunModel = None,
    revision: Revision = None,
    low_memory: LowMemory = False,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Make a finished run longer. What is not given stays as it was; what is, may be otherwise from here on."""
    with command_errors(run_dir, quiet):
        check_numbers(seconds=seconds, num_samples=num_samples)
        changes = _changes(artist, genre, read_lyrics(lyrics, lyrics_file), total_seconds, max_batch_size, seed)
        changes |= sampling_options(temperature, top_k, top_p, hop_fraction) | {"levels": level_list(levels)}
        device = _check(run_dir, model, revision, device, dtype)
        pipeline = _load_model_of(run_dir, model, revision, low_memory, device, dtype, quiet)
        changes |= generator(seed) | {"num_waveforms_per_prompt": num_samples, "output_type": "latent"}
        with sampling_to(run_dir, quiet, progress) as callback:
            pipeline.continue_run(run_dir, seconds, callback=callback, **changes)


def upsample(
    source: Annotated[Path, path_argument(help="Folder of a run, or a data.pth.tar of the published code.")],
    output: Annotated[Path | None, a_path("--output", "-o", help="Folder, for a data.pth.tar.")] = None,
    artist: Artist = None,
    genre: Genre = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    total_seconds: TotalSeconds = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    hop_fraction: HopFraction = None,
    max_batch_size: MaxBatchSize = None,
    seed: Seed = None,
    model: RunModel = None,
    revision: Revision = None,
    low_memory: LowMemory = False,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Draw the levels under those of a finished run, or under the codes of a data.pth.tar."""
    run_dir = source if output is None else output
    with command_errors(run_dir, quiet):
        changes = _changes(artist, genre, read_lyrics(lyrics, lyrics_file), total_seconds, max_batch_size, seed)
        changes |= sampling_options(temperature, top_k, top_p, hop_fraction)
        if output is None and not source.is_file():
            device = _check(source, model, revision, device, dtype)
            pipeline = _load_model_of(source, model, revision, low_memory, device, dtype, quiet)
            changes |= generator(seed)
            with sampling_to(source, quiet, progress) as callback:
                pipeline.upsample_run(source, output_type="latent", callback=callback, **changes)
            return
        if output is None:
            raise ValueError(f"{source} is a file; give a folder for the result with --output.")
        check_model(model, revision)
        check_choices(device, dtype)
        check_writable(output)
        device = check_device(device)
        from ..convert.openai_codes import levels_to_upsample, read_published_codes

        codes = read_published_codes(source)
        check_no_run(output)
        with status(f"Loading {model or 'the demo model'} ...", quiet):
            pipeline = load_pipeline(model, device, dtype, low_memory=low_memory, revision=revision)
        below = levels_to_upsample(codes, pipeline.hierarchy)
        if not any(name in changes for name in ("artist", "genre", "lyrics", "total_length_in_s")):
            warnings.warn(
                f"The labels in {source} are not read; give those of the song again: --artist, --genre, --lyrics, "
                "--total-seconds.",
                stacklevel=1,
            )
        changes |= generator(seed)
        with sampling_to(output, quiet, progress) as callback:
            pipeline(codes=codes, levels=below, output_dir=output, output_type="latent", callback=callback, **changes)


def pick(
    run_dir: Run,
    number: Annotated[int, typer.Argument(metavar="N", help="Which to keep: the N of its item_N.wav.")],
) -> None:
    """Go on with one of several candidates; the others are put aside in DIR/earlier."""
    with command_errors():
        check_run(run_dir)
        from ..runs.folder import JukeboxRun

        with work_to_keep():
            JukeboxRun.open(run_dir).pick(number)
        write_line(f"{run_dir} goes on with number {number}, now item_0.wav; all are kept in {run_dir / 'earlier'}.")


@contextmanager
def sampling_to(run_dir: Path, quiet: bool, style: ProgressStyle) -> Iterator[Callable[[SamplingProgress], None]]:
    """A callback that shows progress; at the end, say where the audio is. One of several processes speaks."""
    started, style = time.monotonic(), style if is_first_process() and not quiet else ProgressStyle.NONE
    with work_to_keep():
        with show_progress(style, error_console()) as show:
            yield show
        if is_first_process():
            print_result(run_dir, style, started)


def _check(run_dir: Path, model: str | None, revision: str | None, device: str | None, dtype: str | None) -> str | None:
    """Check what needs neither model nor run; return the device in torch's words."""
    if revision is not None and model is None:
        raise ValueError("--revision is that of a Hub repository; name the repository with --model.")
    check_model(model, revision)
    check_choices(device, dtype)
    check_run(run_dir)
    return check_device(device)


def _load_model_of(
    run_dir: Path,
    model: str | None,
    revision: str | None,
    low_memory: bool,
    device: str | None,
    dtype: str | None,
    quiet: bool,
) -> JukeboxPipeline:
    """The model that drew a run, in its precision.

    Raises:
        ValueError: it is not where it was; the message names `--model`.
    """
    with status(f"Loading {model or f'the model of {run_dir}'} ...", quiet):
        from ..runs.contents import RunReader
        from ..runs.model_source import model_of_run

        run = RunReader.open(run_dir)
        source = model or model_of_run(run)
        dtype = dtype or run.step.model.dtype
        return load_pipeline(source, device, dtype, low_memory=low_memory, revision=revision)


def _changes(
    artist: str | None,
    genre: str | None,
    lyrics: str | None,
    total_seconds: float | None,
    max_batch_size: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """What is given of that which may change in a run, checked."""
    check_numbers(total_seconds=total_seconds, max_batch_size=max_batch_size, seed=seed)
    given = {
        "artist": artist,
        "genre": genre,
        "lyrics": lyrics,
        "total_length_in_s": total_seconds,
        "max_batch_size": max_batch_size,
    }
    return {name: value for name, value in given.items() if value is not None}


def generator(seed: int | None) -> dict[str, Any]:
    """The argument of the pipeline that makes a run repeatable, if a seed is given."""
    import torch

    return {} if seed is None else {"generator": torch.Generator().manual_seed(seed)}
