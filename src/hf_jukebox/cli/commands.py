"""The command line, `hf-jukebox`. Thin: it reads arguments, calls the library, and says where the result is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..console.errors import stop
from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..console.signals import handle_signals
from . import convert_commands, run_commands
from .options import (
    Artist,
    Compile,
    Device,
    Dtype,
    Genre,
    HopFraction,
    Levels,
    LowMemory,
    Lyrics,
    LyricsFile,
    MaxBatchSize,
    Model,
    Quiet,
    Revision,
    Seed,
    Style,
    Temperature,
    TopK,
    TopP,
    TotalSeconds,
    Upsampling,
    a_path,
    check_choices,
    check_numbers,
    level_list,
    path_argument,
    read_lyrics,
    refuse_with_requests,
    repeated,
    sampling_options,
)
from .progress import ProgressStyle
from .terminal import (
    PROGRAM,
    VERSION,
    check_device,
    check_files,
    check_model,
    check_no_run,
    check_writable,
    command_errors,
    load_pipeline,
    status,
)


class _Commands(TyperGroup):
    """Commands of which a misspelt one ends in a line that says so, and one that names the help."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            result = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except Exception as error:
            if not standalone_mode or not hasattr(error, "format_message"):  # the last is a mark of click's own
                raise
            where = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
            message = error.format_message()
            if type(error).__name__ == "NoArgsIsHelpError":
                raise SystemExit(0) from None  # the help has been written
            stop(PROGRAM, message, f"Help: {where} --help")
        if standalone_mode:
            raise SystemExit(result if isinstance(result, int) else 0)
        return result


app = typer.Typer(
    cls=_Commands,
    help="Continue recordings and make songs up with Jukebox.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
convert_app = typer.Typer(help="Turn released checkpoints into a pipeline folder.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")


def main() -> None:
    """Entry point: wrong input ends in one line on stderr and exit status 2."""
    handle_signals(PROGRAM)
    hush_libraries()
    app(prog_name=PROGRAM)


def _show_version(wanted: bool) -> None:
    if wanted:
        write_line(f"{PROGRAM} {VERSION}")
        raise typer.Exit


@app.callback()
def _any_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command()
def sample(
    prompts: Annotated[
        list[Path] | None, path_argument("[PROMPTS]...", help="Recordings to continue; none makes songs up.")
    ] = None,
    output: Annotated[
        Path | None, a_path("--output", "-o", help="Folder for the run.", show_default="jukebox-out")
    ] = None,
    requests: Annotated[
        Path | None, a_path(help="Draw the songs of a .yaml or .jsonl file as one batch, each to its own folder.")
    ] = None,
    model: Model = None,
    revision: Revision = None,
    low_memory: LowMemory = False,
    artist: Artist = None,
    genre: Genre = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    seconds: Annotated[float | None, typer.Option(help="Length of the result, prompt included.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="How much of the prompt's start to use.")] = None,
    total_seconds: TotalSeconds = None,
    offset_seconds: Annotated[float, typer.Option(help="Where in its song the piece begins.")] = 0.0,
    num_samples: Annotated[int | None, typer.Option(help="Songs to draw, as many of each prompt.")] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    hop_fraction: HopFraction = None,
    levels: Levels = None,
    upsampling: Upsampling = "sequential",
    max_batch_size: MaxBatchSize = None,
    compile_step: Compile = False,
    seed: Seed = None,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    progress: Style = ProgressStyle.BAR,
) -> None:
    """Continue recordings, or make songs up, and write DIR/level_L/item_N.wav for every level.

    The folder is written as the music is drawn. Interrupted, it is gone on with by: hf-jukebox resume DIR
    """
    output = _free_folder("jukebox-out") if output is None else output
    with command_errors(output, quiet):
        lengths = {"seconds": seconds, "prompt_seconds": prompt_seconds, "total_seconds": total_seconds}
        counts = {"num_samples": num_samples, "max_batch_size": max_batch_size}
        check_numbers(**lengths, **counts, offset_seconds=offset_seconds, seed=seed)  # type: ignore[arg-type]
        check_choices(device, dtype, upsampling)
        options = sampling_options(temperature, top_k, top_p, hop_fraction)
        options |= {"levels": level_list(levels), "upsampling": upsampling, "max_batch_size": max_batch_size}
        lyrics = read_lyrics(lyrics, lyrics_file)
        audio = repeated(prompts, num_samples) if prompts else None
        songs = None
        if requests is not None:
            labels = {"artist": artist, "genre": genre, "lyrics": lyrics, "seed": seed}
            refuse_with_requests(prompts=prompts, **labels, **lengths, offset_seconds=offset_seconds)
            songs = _read_songs(requests)
        _check_prompts(prompts or [] if songs is None else [song.prompt for song in songs if song.prompt is not None])
        check_model(model, revision)
        check_writable(output)
        device = check_device(device)
        check_no_run(output)
        with status(f"Loading {model or 'the demo model'} ...", quiet):
            pipeline = load_pipeline(
                model, device, dtype, compile_step=compile_step, low_memory=low_memory, revision=revision
            )
        candidates = 1 if audio or num_samples is None else num_samples
        options |= {"num_waveforms_per_prompt": candidates, "output_type": "latent"}
        with run_commands.sampling_to(output, quiet, progress) as callback:
            if songs is not None:
                pipeline.sample_songs(songs, output, callback=callback, **options)
                return
            pipeline(
                audio,
                artist=artist,
                genre=genre,
                lyrics=lyrics,
                audio_length_in_s=seconds,
                prompt_length_in_s=prompt_seconds,
                total_length_in_s=total_seconds,
                offset_in_s=offset_seconds,
                output_dir=output,
                callback=callback,
                **options,
                **run_commands.generator(seed),
            )


app.command()(run_commands.resume)
app.command("continue")(run_commands.continue_)
app.command()(run_commands.upsample)
app.command()(run_commands.pick)
convert_app.command("openai")(convert_commands.convert_openai_command)
convert_app.command("transformers")(convert_commands.convert_transformers_command)
app.command("assemble")(convert_commands.assemble_command)


def _read_songs(requests: Path) -> list[Any]:
    check_files([requests])
    from ..runs.song_requests import read_songs

    return list(read_songs(requests))


def _check_prompts(prompts: Sequence[str | Path]) -> None:
    """Refuse recordings that cannot be read, before the model is loaded."""
    check_files([Path(prompt) for prompt in prompts])
    if prompts:
        from ..audio.io import audio_info

        for prompt in prompts:
            audio_info(prompt)


def _free_folder(name: str) -> Path:
    """The folder of this name, or with the first number behind it that is not taken."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in names if not folder.exists())


if __name__ == "__main__":
    main()
