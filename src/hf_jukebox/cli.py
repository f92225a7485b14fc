"""The command line, `hf-jukebox`. Thin: it reads arguments, calls the library, and says where the result is."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Annotated

import typer

from . import cli_runs
from .cli_options import (
    Artist,
    Compile,
    Device,
    Dtype,
    Genre,
    HopFraction,
    Levels,
    Lyrics,
    LyricsFile,
    MaxBatchSize,
    Model,
    Quiet,
    Seed,
    Style,
    Temperature,
    TopK,
    TopP,
    TotalSeconds,
    Upsampling,
    draw_options,
    level_list,
    read_lyrics,
    refuse_with_requests,
)
from .terminal import ProgressStyle, check_output, console, errors_as_one_line, load_pipeline

app = typer.Typer(
    help="Continue recordings and make songs up with Jukebox.", no_args_is_help=True, pretty_exceptions_enable=False
)
convert_app = typer.Typer(help="Turn released checkpoints into a pipeline folder.", no_args_is_help=True)
app.add_typer(convert_app, name="convert")

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.", show_default=False)]


def main() -> None:
    """Entry point: wrong input ends in one line on stderr and exit status 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends as Ctrl-C does: all is kept
    app()


@app.command()
def sample(
    prompts: Annotated[list[Path] | None, typer.Argument(help="Recordings to continue; none makes songs up.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the run.", show_default="jukebox-out")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="Draw the songs of a .yaml or .jsonl file as one batch, each to its own folder.")
    ] = None,
    model: Model = None,
    artist: Artist = None,
    genre: Genre = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    seconds: Annotated[float | None, typer.Option(help="Length of the result, prompt included.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="How much of the prompt's start to use.")] = None,
    total_seconds: TotalSeconds = None,
    offset_seconds: Annotated[float, typer.Option(help="Where in its song the piece begins.")] = 0.0,
    num_samples: Annotated[int | None, typer.Option(help="Songs to draw; prompts are repeated in turn.")] = None,
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
    with errors_as_one_line(output):
        import torch

        from .audio import audio_info
        from .runs.songs import read_songs

        lyrics = read_lyrics(lyrics, lyrics_file)
        check_output(output)
        options = draw_options(temperature, top_k, top_p, hop_fraction)
        options |= {"levels": level_list(levels), "upsampling": upsampling, "max_batch_size": max_batch_size}
        if requests is not None:
            labels = {"artist": artist, "genre": genre, "lyrics": lyrics, "seed": seed}
            lengths = {"seconds": seconds, "prompt_seconds": prompt_seconds, "total_seconds": total_seconds}
            refuse_with_requests(prompts=prompts, **labels, **lengths, offset_seconds=offset_seconds)
            songs = read_songs(requests)
            for song in songs:
                if song.prompt is not None:
                    audio_info(song.prompt)
            pipeline = load_pipeline(model, device, dtype, compile_step)
            with cli_runs.drawing_to(output, quiet, progress) as callback:
                candidates = 1 if num_samples is None else num_samples
                options |= {"num_waveforms_per_prompt": candidates, "output_type": "latent"}
                pipeline.draw_songs(songs, output, callback=callback, **options)
            return
        audio = None
        if prompts:
            for prompt in prompts:
                audio_info(prompt)  # a mistyped name is told before the model is loaded
            count = len(prompts) if num_samples is None else num_samples
            audio = [prompts[i % len(prompts)] for i in range(count)]
        pipeline = load_pipeline(model, device, dtype, compile_step)
        with cli_runs.drawing_to(output, quiet, progress) as callback:
            pipeline(
                audio,
                artist=artist,
                genre=genre,
                lyrics=lyrics,
                audio_length_in_s=seconds,
                prompt_length_in_s=prompt_seconds,
                total_length_in_s=total_seconds,
                offset_in_s=offset_seconds,
                num_waveforms_per_prompt=1 if audio or num_samples is None else num_samples,
                generator=None if seed is None else torch.Generator().manual_seed(seed),
                output_dir=output,
                output_type="latent",
                callback=callback,
                **options,
            )


app.command()(cli_runs.resume)
app.command("continue")(cli_runs.continue_)
app.command()(cli_runs.upsample)
app.command()(cli_runs.pick)


@convert_app.command("openai")
def convert_openai_command(
    vqvae: Annotated[Path, typer.Option(help="The VQ-VAE's .pth.tar file.", show_default=False)],
    prior: Annotated[list[Path], typer.Option(help="A prior's .pth.tar file; once a level, finest first.")],
    output: Output,
    preset: Annotated[str | None, typer.Option(help="1b_lyrics, 5b or 5b_lyrics, for files without settings.")] = None,
    hparams: Annotated[Path | None, typer.Option(help="JSON file with the settings.")] = None,
    ids: Annotated[Path | None, typer.Option(help="Folder of the artist and genre tables.")] = None,
) -> None:
    """Checkpoints in the original layout (the released weights are for non-commercial use)."""
    with errors_as_one_line():
        from .convert import convert_openai

        convert_openai(vqvae, prior, output, preset=preset, hparams=hparams, ids=ids)
        console.print(f"Wrote {output}. Use it with: hf-jukebox sample --model {output}", soft_wrap=True)


@convert_app.command("transformers")
def convert_transformers_command(
    source: Annotated[str, typer.Argument(help="Folder or Hub repository in the layout of transformers 4.")],
    output: Output,
) -> None:
    """A model in the layout of transformers 4 (the released weights are for non-commercial use)."""
    with errors_as_one_line():
        from .convert import convert_transformers

        convert_transformers(source, output)
        console.print(f"Wrote {output}. Use it with: hf-jukebox sample --model {output}", soft_wrap=True)


@app.command("assemble")
def assemble_command(
    vqvae: Annotated[str, typer.Option(help="The VQ-VAE: a folder or Hub repository.", show_default=False)],
    prior: Annotated[list[str], typer.Option(help="A prior's folder or repository; once a level, finest first.")],
    output: Output,
) -> None:
    """Put parts of your own together to a pipeline of two or three levels."""
    with errors_as_one_line():
        from .convert import assemble

        assemble(vqvae, prior, output)
        console.print(f"Wrote {output}. Use it with: hf-jukebox sample --model {output}", soft_wrap=True)


def _free_folder(name: str) -> Path:
    """The folder of this name, or with the first number behind it that is not taken."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in names if not folder.exists())


if __name__ == "__main__":
    main()
