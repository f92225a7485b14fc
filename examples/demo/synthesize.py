"""Write pieces of synthesised music, the training data of the demo model.

    python examples/demo/synthesize.py --output data/demo --songs 200

writes song_<seed>.flac and metadata.csv (file_name, artist = drum kit, genre = style, bpm). One seed is one piece.
examples/prompt.wav is 3 s of the held-out seed 1000014:

    python examples/demo/synthesize.py --output prompt --songs 1 --seed 1000014 --seconds 3 --format wav
"""

import csv
import os
from pathlib import Path
from typing import Annotated, Literal

import soundfile
import typer
from synth import Song, synthesize_song

HELD_OUT_SEED = 1_000_000  # seeds from here on are held out for prompts and tests

__all__ = ["HELD_OUT_SEED", "Song", "synthesize_song", "write_songs"]


def write_songs(
    output: str | os.PathLike[str], songs: int, seconds: float, seed: int, sampling_rate: int, suffix: str = "flac"
) -> None:
    """Write pieces of the seeds `seed`, `seed + 1`, ... and, once all of them are complete, metadata.csv."""
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(seed, seed + songs):
        song = synthesize_song(number, sampling_rate, seconds)
        name = f"song_{number:07d}.{suffix}"
        soundfile.write(folder / name, song.audio, sampling_rate, subtype="PCM_16")
        rows.append({"file_name": name, "artist": song.kit, "genre": song.style, "bpm": song.bpm})
    unfinished = folder / "metadata.csv.tmp"
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=["file_name", "artist", "genre", "bpm"])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, folder / "metadata.csv")


def main(
    output: Annotated[Path, typer.Option(help="Folder for the pieces and metadata.csv.")],
    songs: Annotated[int, typer.Option(min=1, help="Number of pieces.")] = 100,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of a piece.")] = 24.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first piece; the next ones count up.")] = 0,
    sampling_rate: Annotated[int, typer.Option(min=16000, help="In Hz.")] = 22050,
    format: Annotated[Literal["flac", "wav"], typer.Option(help="File format, 16 bit.")] = "flac",
) -> None:
    """Write pieces of synthesised music with labels."""
    write_songs(output, songs, seconds, seed, sampling_rate, suffix=format)
    typer.echo(f"{songs} pieces in {output}")


if __name__ == "__main__":
    typer.run(main)
