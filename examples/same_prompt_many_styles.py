# ruff: noqa: E402
"""One prompt in many styles: every artist with every genre, sampled as one batch and compared on one page.

    python examples/same_prompt_many_styles.py drum-break.wav --model jukebox-1b-lyrics --seconds 20 \\
        --artists "Ella Fitzgerald,The Beatles" --genres Jazz,Rock --output styles

Open styles/index.html: switching cards keeps the playback position. All samples use the same random numbers, so that
they differ by their labels alone.
"""

from itertools import product
from pathlib import Path
from typing import Annotated

from hf_jukebox.console.quiet import hush_libraries

hush_libraries()  # before the imports below

import torch
import typer

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.audio import audio_info
from hf_jukebox.cli.devices import find_device
from hf_jukebox.cli.options import path_argument, path_option
from hf_jukebox.cli.terminal import in_options
from hf_jukebox.cli.values import check_numbers
from hf_jukebox.console.errors import errors_as_one_line
from hf_jukebox.console.signals import handle_signals, work_to_keep
from hf_jukebox.files.text import user_path
from hf_jukebox.report import Candidate, Grid, ListeningPage, write_listening_page
from hf_jukebox.runs.folder import JukeboxRun

PROGRAM = "same_prompt_many_styles.py"
UNKNOWN = ("", "unknown")
MOST_BY_DEFAULT = 3


def main(
    prompt: Annotated[Path, path_argument(help="Recording that every style continues.")],
    output: Annotated[Path, path_option(help="Folder for the audio and the page.")] = Path("styles"),
    artists: Annotated[
        str | None, typer.Option(help="Names separated by commas; by default some names of the model.")
    ] = None,
    genres: Annotated[
        str | None, typer.Option(help="Names separated by commas; by default some names of the model.")
    ] = None,
    model: Annotated[str, typer.Option(help="Folder or Hub repository.")] = str(DEMO_MODEL),
    seconds: Annotated[float | None, typer.Option(help="Length of each piece, prompt included.")] = None,
    prompt_seconds: Annotated[float | None, typer.Option(help="Length of the prompt to use, from its start.")] = None,
    levels: Annotated[int | None, typer.Option(help="Sample this many levels, from the top; all by default.")] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(help="Pieces sampled at a time; by default as many as fit.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes a run repeatable.")] = 0,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; by default the best available.")] = None,
) -> None:
    check_numbers(seconds=seconds, prompt_seconds=prompt_seconds, max_batch_size=max_batch_size, seed=seed)
    audio_info(prompt)
    device = find_device(device)
    dtype = "float16" if device.startswith("cuda") else "float32"
    source = str(user_path(model)) if user_path(model).is_dir() else model
    pipe = JukeboxPipeline.from_pretrained(source, dtype=dtype)
    pipe.to(device)
    rows, columns = names(pipe, "artists", artists), names(pipe, "genres", genres)
    styles = list(product(rows, columns))
    top = len(pipe.priors) - 1
    pipe(
        prompt,
        artist=[artist for artist, _ in styles],
        genre=[genre for _, genre in styles],
        audio_length_in_s=seconds,
        prompt_length_in_s=prompt_seconds,
        levels=None if levels is None else range(top, top - levels, -1),
        generator=[torch.Generator().manual_seed(seed) for _ in styles],
        max_batch_size=max_batch_size,
        output_dir=output,
    )
    print(write_page(output, prompt.name, rows, columns))


def names(pipe: JukeboxPipeline, kind: str, given: str | None) -> list[str]:
    """Split the names given, or return the first few of the top prior."""
    if given is not None:
        return [name.strip() for name in given.split(",")]
    top = len(pipe.priors) - 1
    if pipe.tokenizer is None or top not in pipe.tokenizer.vocabularies:
        raise ValueError("This model has no labels, so it has no styles to compare; give another --model.")
    table = pipe.tokenizer.artists(top) if kind == "artists" else pipe.tokenizer.genres(top)
    return [name for name in table if name not in UNKNOWN][:MOST_BY_DEFAULT] or [""]


def write_page(folder: Path, prompt: str, rows: list[str], columns: list[str]) -> Path:
    run = JukeboxRun.open(folder)
    audio = run.audio_paths()
    candidates = [
        Candidate(
            title=" · ".join(filter(None, (artist, genre))),
            audio={level: paths[number].relative_to(folder) for level, paths in audio.items()},
        )
        for number, (artist, genre) in enumerate(product(rows, columns))
    ]
    settings = {"Prompt": prompt, "Length": f"{run.seconds:.1f} s"}
    title = "One prompt, many styles"
    return write_listening_page(folder, ListeningPage(title, candidates, settings, grid=Grid(rows, columns)))


if __name__ == "__main__":
    handle_signals(PROGRAM)
    with (
        errors_as_one_line(PROGRAM, on_low_memory="use a smaller --max-batch-size", in_words=in_options),
        work_to_keep(),
    ):
        typer.run(main)
