"""The commands that go on with a run: resume, continue, upsample, pick."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_options import (
    Artist,
    Device,
    Dtype,
    Genre,
    HopFraction,
    Levels,
    Lyrics,
    LyricsFile,
    MaxBatchSize,
    Quiet,
    Run,
    RunModel,
    Seed,
    Style,
    Temperature,
    TopK,
    TopP,
    TotalSeconds,
    draw_options,
    level_list,
    read_lyrics,
)
from .terminal import (
    ProgressStyle,
    check_output,
    console,
    errors_as_one_line,
    is_first_process,
    load_pipeline,
    shown_progress,
    tell_result,
)

if TYPE_CHECKING:
    from .drawing import SamplingProgress
    from .pipeline_jukebox import JukeboxPipeline


def resume(
    run_dir: Run,
    model: RunModel = None,
    max_batch_size: MaxBatchSize = None,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Go on with a run from where it stopped, with the codes of one that was never stopped."""
    with errors_as_one_line(run_dir):
        pipeline = _load_model_of(run_dir, model, device, dtype)
        with drawing_to(run_dir, quiet, progress) as callback:
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
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Make a finished run longer. What is not given stays as it was; what is, may be otherwise from here on."""
    with errors_as_one_line(run_dir):
        changes = _changes(artist, genre, read_lyrics(lyrics, lyrics_file), total_seconds, max_batch_size, seed)
        changes |= draw_options(temperature, top_k, top_p, hop_fraction)
        pipeline = _load_model_of(run_dir, model, device, dtype)
        with drawing_to(run_dir, quiet, progress) as callback:
            pipeline.continue_run(
                run_dir,
                seconds,
                levels=level_list(levels),
                num_waveforms_per_prompt=num_samples,
                output_type="latent",
                callback=callback,
                **changes,
            )


def upsample(
    source: Annotated[Path, typer.Argument(help="Folder of a run, or a data.pth.tar of the published code.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder, for a data.pth.tar.")] = None,
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
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Draw the levels under those of a finished run, or under the codes of a data.pth.tar."""
    run_dir = source if output is None else output
    with errors_as_one_line(run_dir):
        changes = _changes(artist, genre, read_lyrics(lyrics, lyrics_file), total_seconds, max_batch_size, seed)
        changes |= draw_options(temperature, top_k, top_p, hop_fraction)
        if output is None and not source.is_file():
            pipeline = _load_model_of(source, model, device, dtype)
            with drawing_to(source, quiet, progress) as callback:
                pipeline.upsample_run(source, output_type="latent", callback=callback, **changes)
            return
        if output is None:
            raise ValueError(f"{source} is a file; give a folder for the result with --output.")
        from .runs.published import levels_to_upsample, read_published_codes

        codes = read_published_codes(source)
        check_output(output)
        pipeline = load_pipeline(model, device, dtype)
        below = levels_to_upsample(codes, pipeline.system)
        if not quiet and not any(name in changes for name in ("artist", "genre", "lyrics", "total_length_in_s")):
            print(
                f"hf-jukebox: the labels in {source} are not read; give those of the song again: --artist, --genre, "
                "--lyrics, --total-seconds.",
                file=sys.stderr,
            )
        with drawing_to(output, quiet, progress) as callback:
            pipeline(codes=codes, levels=below, output_dir=output, output_type="latent", callback=callback, **changes)


def pick(
    run_dir: Run,
    number: Annotated[int, typer.Argument(metavar="N", help="Which to keep: the N of its item_N.wav.")],
) -> None:
    """Go on with one of several candidates; the others are put aside in DIR/earlier."""
    with errors_as_one_line():
        from .runs.folder import JukeboxRun

        JukeboxRun.open(run_dir).pick(number)
        console.print(f"{run_dir} goes on with number {number}, now item_0.wav; all are kept in {run_dir}/earlier.")


@contextmanager
def drawing_to(run_dir: Path, quiet: bool, style: ProgressStyle) -> Iterator[Callable[[SamplingProgress], None]]:
    """A callback that shows progress; at the end, say where the audio is. One of several processes speaks."""
    started, style = time.monotonic(), style if is_first_process() and not quiet else ProgressStyle.NONE
    with shown_progress(style) as show:
        yield show
    if is_first_process():
        tell_result(run_dir, style, started)


def _load_model_of(run_dir: Path, model: str | None, device: str | None, dtype: str | None) -> JukeboxPipeline:
    """The model that drew a run, in its precision."""
    from .runs.contents import RunContents
    from .runs.model_source import model_of_run

    run = RunContents.open(run_dir)
    return load_pipeline(model or model_of_run(run), device, dtype or run.step.model.dtype)


def _changes(
    artist: str | None,
    genre: str | None,
    lyrics: str | None,
    total_seconds: float | None,
    max_batch_size: int | None,
    seed: int | None,
) -> dict[str, Any]:
    import torch

    given = {
        "artist": artist,
        "genre": genre,
        "lyrics": lyrics,
        "total_length_in_s": total_seconds,
        "max_batch_size": max_batch_size,
        "generator": None if seed is None else torch.Generator().manual_seed(seed),
    }
    return {name: value for name, value in given.items() if value is not None}
