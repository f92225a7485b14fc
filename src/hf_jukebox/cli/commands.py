"""The command line, `hf-jukebox`: it reads the options, calls the library and prints where the result is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..console.errors import stop
from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..console.signals import handle_signals
from . import (
    app_command,
    catalogue_commands,
    compile_command,
    convert_commands,
    embed_command,
    export_command,
    push_command,
    run_commands,
    score_command,
)
from .checks import (
    PROGRAM,
    check_catalogue,
    check_files,
    check_model,
    check_no_run,
    check_prompt_length,
    check_prompts,
    check_writable,
    find_given_device,
    read_adapters,
    unused_folder,
)
from .environment import env
from .evaluate_command import evaluate
from .listening import check_listening
from .models import load_pipeline, suggest_compiling
from .options import (
    Avoid,
    Compile,
    LabelOptions,
    Levels,
    ListenOptions,
    MaxBatchSize,
    ModelOptions,
    OutputOptions,
    Seed,
    Upsampling,
    path_argument,
    path_option,
    with_options,
)
from .terminal import command_errors, sampling_to
from .training_commands import add_training_commands
from .values import (
    check_choices,
    check_numbers,
    read_labels,
    read_level_options,
    read_levels,
    refuse_with_requests,
    repeat_prompts,
)


class _Commands(TyperGroup):
    """Group of commands in which a wrong command line ends with the error and a line that names the help."""

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
            if not standalone_mode or not hasattr(error, "format_message"):  # only click's errors have it
                raise
            command_path = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
            message = error.format_message()
            if type(error).__name__ == "NoArgsIsHelpError":
                raise SystemExit(0) from None  # the help has been written
            stop(PROGRAM, message, f"Help: {command_path} --help")
        if standalone_mode:
            raise SystemExit(result if isinstance(result, int) else 0)
        return result


app = typer.Typer(
    cls=_Commands,
    help="Continue recordings and make up songs with Jukebox.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
convert_app = typer.Typer(help="Convert released checkpoints to a pipeline folder.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")
catalogue_app = typer.Typer(help="Catalogues of codes: find copies in pieces, or avoid them.", no_args_is_help=True)
app.add_typer(catalogue_app, name="catalogue")


def main() -> None:
    """Run the command line; wrong input ends with one line on stderr and exit status 2."""
    handle_signals(PROGRAM)
    hush_libraries()
    app(prog_name=PROGRAM)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        write_line(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _any_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@with_options
def sample(
    prompts: Annotated[
        list[Path] | None, path_argument("[PROMPTS]...", help="Recordings to continue; without any, songs are made up.")
    ] = None,
    output: Annotated[
        Path | None, path_option("--output", "-o", help="Folder for the run.", show_default="jukebox-out")
    ] = None,
    requests: Annotated[
        Path | None,
        path_option(help="Sample the songs of a .yaml or .jsonl file as one batch, each to a folder."),
    ] = None,
    *,
    model: ModelOptions,
    labels: LabelOptions,
    seconds: Annotated[float | None, typer.Option(help="Length of the result, prompt included.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="Length of the prompt's start to use.")] = None,
    offset_seconds: Annotated[float, typer.Option(help="Start of the result in its song.")] = 0.0,
    num_samples: Annotated[int | None, typer.Option(help="Songs to sample, equally many per prompt.")] = None,
    levels: Levels = None,
    upsampling: Upsampling = "sequential",
    max_batch_size: MaxBatchSize = None,
    avoid: Avoid = None,
    longest_in_s: Annotated[
        float | None,
        typer.Option(
            "--longest-in-s", help="Seconds that an agreement with the catalogue may last.", show_default="2.0"
        ),
    ] = None,
    compile_step: Compile = False,
    seed: Seed = None,
    shown: OutputOptions,
    listen: ListenOptions,
    **level_options: Any,
) -> None:
    """Continue recordings, or make up songs, and write DIR/level_L/item_N.wav for every level.

    The folder is written while the music is sampled. If it is interrupted, continue with: hf-jukebox resume DIR
    """
    output = unused_folder("jukebox-out") if output is None else output
    with command_errors(output, shown.quiet):
        lengths = {"seconds": seconds, "prompt_seconds": prompt_seconds, "offset_seconds": offset_seconds}
        check_numbers(**lengths, num_samples=num_samples, max_batch_size=max_batch_size, seed=seed)  # type: ignore[arg-type]
        check_choices(model.device, model.dtype, upsampling)
        check_listening(listen, shown.progress, read_levels(levels))
        read_adapters(model.lora)
        options = read_level_options(level_options)
        options |= {"levels": read_levels(levels), "upsampling": upsampling, "max_batch_size": max_batch_size}
        if avoid is None and longest_in_s is not None:
            raise ValueError("--longest-in-s limits agreements with a catalogue; name the catalogue with --avoid.")
        if avoid is not None:
            check_catalogue(avoid, longest_in_s)
        options |= {"avoid": avoid, "longest_in_s": longest_in_s}
        song_labels = read_labels(labels)
        audio = repeat_prompts(prompts, num_samples) if prompts else None
        songs = None
        if requests is not None:
            if prompts:
                raise ValueError(
                    "Recordings cannot be combined with --requests; set them per song in the file, as prompt."
                )
            refuse_with_requests(**asdict(labels), seed=seed, **lengths)
            songs = _read_songs(requests)
        if prompt_seconds is not None and not prompts:
            raise ValueError("--prompt-seconds is for a prompt; name a recording, or leave it out.")
        check_prompts(prompts or [] if songs is None else [song.prompt for song in songs if song.prompt is not None])
        check_prompt_length(prompts or [], prompt_seconds, seconds)
        check_model(model.model, model.revision)
        check_writable(output)
        model = model.on_device(find_given_device(model.device))
        check_no_run(output)
        num_songs = len(songs or audio or []) or num_samples or 1
        is_one_song = upsampling == "sequential" and 1 in (num_songs, max_batch_size)
        pipeline = load_pipeline(model, compile_step=compile_step, is_one_song=is_one_song, quiet=shown.quiet)
        if not compile_step and not shown.quiet:
            suggest_compiling(pipeline, seconds)
        candidates = 1 if audio or num_samples is None else num_samples
        options |= {"num_waveforms_per_prompt": candidates, "output_type": "latent"}
        with sampling_to(output, shown, listen) as callbacks:
            if songs is not None:
                pipeline.sample_songs(songs, output, **callbacks, **options)
                return
            pipeline(
                audio,
                audio_length_in_s=seconds,
                prompt_length_in_s=prompt_seconds,
                offset_in_s=offset_seconds,
                output_dir=output,
                **callbacks,
                **song_labels,
                **options,
                **run_commands.generator(seed),
            )


app.command()(run_commands.resume)
app.command("continue")(run_commands.continue_)
app.command()(run_commands.upsample)
app.command()(run_commands.pick)
app.command()(embed_command.embed)
app.command()(export_command.export)
app.command("compile")(compile_command.compile_)
app.command()(score_command.score)
app.command("app")(app_command.app)
convert_app.command("openai")(convert_commands.convert_openai_command)
convert_app.command("transformers")(convert_commands.convert_transformers_command)
app.command("assemble")(convert_commands.assemble_command)
catalogue_app.command("build")(catalogue_commands.build)
catalogue_app.command("hash")(catalogue_commands.hash_)
catalogue_app.command("check")(catalogue_commands.check)
app.command()(evaluate)
app.command("push")(push_command.push_command)
add_training_commands(app)
app.command()(env)


def _read_songs(requests: Path) -> list[Any]:
    check_files([requests])
    from ..runs.song_requests import read_songs

    return list(read_songs(requests))
