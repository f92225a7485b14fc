"""One prompt in many styles: every artist with every genre, sampled as one batch and compared on one page.

    python examples/same_prompt_many_styles.py drum-break.wav --model jukebox-1b-lyrics --seconds 20 \\
        --artists "Ella Fitzgerald,The Beatles" --genres Jazz,Rock --output styles

Open styles/index.html: switching cards keeps the playback position. All samples use the same random numbers, so that
they differ by their labels alone.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import torch

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxRun
from hf_jukebox.audio import audio_info
from hf_jukebox.report import Candidate, Grid, ListeningPage, write_listening_page

UNKNOWN = ("", "unknown")
MOST_BY_DEFAULT = 3


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompt", type=Path, help="Recording that every style continues.")
    parser.add_argument("--output", type=Path, default=Path("styles"), help="Folder for the audio and the page.")
    parser.add_argument("--artists", help="Names separated by commas; by default some names of the model.")
    parser.add_argument("--genres", help="Names separated by commas; by default some names of the model.")
    parser.add_argument("--model", default=DEMO_MODEL, help="Folder or Hub repository.")
    parser.add_argument("--seconds", type=float, help="Length of each piece, prompt included.")
    parser.add_argument("--prompt-seconds", type=float, help="Length of the prompt to use, from its start.")
    parser.add_argument("--levels", type=int, help="Sample this many levels, from the top; all by default.")
    parser.add_argument("--max-batch-size", type=int, help="Pieces sampled at a time; by default as many as fit.")
    parser.add_argument("--seed", type=int, default=0, help="Makes a run repeatable.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    audio_info(args.prompt)  # a wrong file is reported before the model is loaded
    dtype = "float16" if args.device.startswith("cuda") else "float32"
    pipe = JukeboxPipeline.from_pretrained(args.model, dtype=dtype).to(args.device)
    artists, genres = names(pipe, "artists", args.artists), names(pipe, "genres", args.genres)
    styles = list(product(artists, genres))
    top = len(pipe.priors) - 1
    pipe(
        args.prompt,
        artist=[artist for artist, _ in styles],
        genre=[genre for _, genre in styles],
        audio_length_in_s=args.seconds,
        prompt_length_in_s=args.prompt_seconds,
        levels=None if args.levels is None else range(top, top - args.levels, -1),
        generator=[torch.Generator().manual_seed(args.seed) for _ in styles],
        max_batch_size=args.max_batch_size,
        output_dir=args.output,
    )
    print(write_page(args.output, args.prompt.name, artists, genres))


def names(pipe: JukeboxPipeline, kind: str, given: str | None) -> list[str]:
    """Split the names given, or return the first few of the top prior."""
    if given is not None:
        return [name.strip() for name in given.split(",")]
    top = len(pipe.priors) - 1
    if pipe.tokenizer is None or top not in pipe.tokenizer.vocabularies:
        raise ValueError("This model has no labels, so it has no styles to compare; give another --model.")
    table = pipe.tokenizer.artists(top) if kind == "artists" else pipe.tokenizer.genres(top)
    return [name for name in table if name not in UNKNOWN][:MOST_BY_DEFAULT] or [""]


def write_page(folder: Path, prompt: str, artists: list[str], genres: list[str]) -> Path:
    run = JukeboxRun.open(folder)
    audio = run.audio_paths()
    candidates = [
        Candidate(
            title=" · ".join(filter(None, style)),
            audio={level: paths[number].relative_to(folder) for level, paths in audio.items()},
        )
        for number, style in enumerate(product(artists, genres))
    ]
    settings = {"Prompt": prompt, "Length": f"{run.seconds:.1f} s"}
    title = "One prompt, many styles"
    return write_listening_page(folder, ListeningPage(title, candidates, settings, grid=Grid(artists, genres)))


if __name__ == "__main__":
    try:
        main(parse_arguments())
    except (ValueError, OSError) as error:
        print(f"same_prompt_many_styles.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
