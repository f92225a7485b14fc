"""Tell style and kit of held-out pieces by their likelihood: the figures of docs/scoring.md.

    python examples/whose_music.py [--songs 40] [--seconds 11.888]

Prints, as its last line, JSON with the share of pieces, and of seconds, whose true label is the likeliest.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from hf_jukebox import DEMO_MODEL, JukeboxPipeline

sys.path.insert(0, str(Path(__file__).with_name("demo")))
from synthesize import HELD_OUT_SEED, synthesize_song

WHOLE_SECONDS = 24.0  # of the pieces that the demo model was trained on; a shorter clip is the beginning of one
FIRST_SEED = HELD_OUT_SEED + 200  # examples/demo/evaluate_demo.py uses those below


def main(
    model: Annotated[str, typer.Option(help="A pipeline's folder.")] = DEMO_MODEL,
    songs: Annotated[int, typer.Option(min=1, help="Number of pieces.")] = 40,
    seconds: Annotated[float, typer.Option(help="Length of the clips; a window of the demo's top prior.")] = 11.888,
) -> None:
    """Compare the labels of held-out pieces by their likelihood."""
    pipe = JukeboxPipeline.from_pretrained(model)
    right: dict[str, list[bool]] = {"genre": [], "artist": []}
    right_seconds: dict[str, list[float]] = {"genre": [], "artist": []}
    for number in range(songs):
        song = synthesize_song(FIRST_SEED + number, pipe.sampling_rate, WHOLE_SECONDS)
        clip = song.audio[: int(seconds * pipe.sampling_rate)]
        for kind, true in (("genre", song.style), ("artist", song.kit)):
            (posterior,) = pipe.compare_labels(clip, kind, sampling_rate=pipe.sampling_rate)
            right[kind].append(posterior.best == true)
            best = posterior.over_time().argmax(1)
            right_seconds[kind].append(float(np.mean(best == posterior.labels.index(true))))
        print(f"{song.style:8} {song.kit:8} right: {right['genre'][-1]!s:5} {right['artist'][-1]}", flush=True)
    report = {
        kind: {"pieces": sum(right[kind]), "of": songs, "seconds": round(float(np.mean(right_seconds[kind])), 3)}
        for kind in right
    }
    print(json.dumps(report))


if __name__ == "__main__":
    typer.run(main)
