"""Probe the layers of a top prior: what do its activations know about music, beside MFCC and mel features?

    pip install "hf_jukebox[study]" scikit-learn
    python examples/probe.py --songs 200
    python examples/probe.py --songs 0 --music /usr/share/games/wesnoth/1.16/data/core/music   # wesnoth-1.16-music

Pieces are synthesised (examples/demo) with a tempo, a key, a style and a kit; ridge regression predicts the tempo,
logistic regression the rest, each with five-fold cross-validation. With --music, folders of recordings are cut into
excerpts, and the probe tells which recording an excerpt comes from: it learns from the first half of each and is tested
on the second. Prints a table, and JSON as its last line.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from scipy.fft import dct
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_jukebox import DEMO_MODEL, JukeboxPipeline
from hf_jukebox.audio import read_audio
from hf_jukebox.training.data.audio_folder import audio_files

sys.path.insert(0, str(Path(__file__).with_name("demo")))
from synth import synthesize_song

FRAME, HOP, BANDS, COEFFICIENTS = 2048, 512, 64, 20
SLOWEST, FASTEST = 80.0, 160.0  # beats per minute
FIRST_SEED = 2_000_000  # of pieces that the demo model was not trained on


def log_mel(audio: np.ndarray, rate: int) -> np.ndarray:
    """Return the log mel spectrogram `[frames, BANDS]`, by O'Shaughnessy's formula (1987)."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME)[::HOP] * np.hanning(FRAME).astype(np.float32)
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = np.linspace(1127 * np.log1p(40 / 700), 1127 * np.log1p(rate / 2 / 700), BANDS + 2)
    edges = 700 * np.expm1(mel / 1127)
    hertz = np.fft.rfftfreq(FRAME, 1 / rate)
    rising = (hertz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - hertz) / (edges[2:] - edges[1:-1])[:, None]
    return np.log(power @ np.clip(np.minimum(rising, falling), 0, None).T + 1e-6)


def spread(features: np.ndarray) -> np.ndarray:
    """Return mean and deviation over time of features `[frames, n]` and of their differences, `[4 n]`."""
    changes = np.diff(features, axis=0)
    return np.concatenate([features.mean(0), features.std(0), changes.mean(0), changes.std(0)])


def classic_features(audio: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    mel = log_mel(audio, rate)
    return {"mel": spread(mel), "MFCC": spread(dct(mel, norm="ortho", axis=1)[:, :COEFFICIENTS])}


def features_of(pipe: JukeboxPipeline, clips: list[np.ndarray], layers: list[int]) -> dict[str, np.ndarray]:
    """Return the features of each clip, `[clips, n]` per kind."""
    rate = pipe.sampling_rate
    classic = [classic_features(clip, rate) for clip in clips]
    features = {name: np.stack([each[name] for each in classic]) for name in classic[0]}
    embedded = pipe.embed(clips, layers=layers, sampling_rate=rate)
    return features | {f"layer {layer}": embedded.layer(layer) for layer in layers}


def probe_songs(pipe: JukeboxPipeline, count: int, seconds: float, layers: list[int]) -> list[dict[str, Any]]:
    """Return one row of cross-validated scores per kind of features."""
    rng = np.random.default_rng(0)
    tempos = rng.uniform(SLOWEST, FASTEST, count)
    songs = [synthesize_song(FIRST_SEED + i, pipe.sampling_rate, seconds, bpm) for i, bpm in enumerate(tempos)]
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    rows = []
    for name, features in features_of(pipe, [song.audio for song in songs], layers).items():
        row: dict[str, Any] = {"features": name}
        row["tempo (r2)"] = cross_val_score(ridge, features, tempos, cv=5, scoring="r2").mean()
        for target in ("key", "style", "kit"):
            row[f"{target} (accuracy)"] = cross_val_score(
                logistic, features, [getattr(song, target) for song in songs], cv=5
            ).mean()
        rows.append(row)
    return rows


def excerpts(paths: list[Path], rate: int, seconds: float, most: int) -> Iterator[tuple[int, bool, np.ndarray]]:
    """Yield excerpts of recordings: the recording's number, whether it lies in the first half, and its samples."""
    length = round(seconds * rate)
    for number, path in enumerate(paths):
        audio = read_audio(path, rate)
        starts = np.arange(0, len(audio) - length, length)
        kept = starts[np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int)] if len(starts) > 3 else []
        for start in kept:
            # Those around the middle are left out, so that no excerpt touches one of the other half.
            if not len(audio) / 2 - length < start < len(audio) / 2:
                yield number, bool(start < len(audio) / 2), audio[start : start + length].copy()


def probe_music(
    pipe: JukeboxPipeline, folders: list[Path], seconds: float, most: int, layers: list[int]
) -> list[dict[str, Any]]:
    """Return one row per kind of features: how often the recording of an excerpt of its second half is found."""
    paths = [path for folder in folders for path in audio_files(folder)]
    numbers, is_first, clips = zip(*excerpts(paths, pipe.sampling_rate, seconds, most), strict=True)
    label, first = np.array(numbers), np.array(is_first)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    rows = []
    for name, features in features_of(pipe, list(clips), layers).items():
        fitted = logistic.fit(features[first], label[first])
        rows.append({"features": name, "recording (accuracy)": fitted.score(features[~first], label[~first])})
    print(f"{len(set(numbers))} recordings, {first.sum()} excerpts to learn from, {(~first).sum()} to test on\n")
    return rows


def table(rows: list[dict[str, Any]]) -> None:
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row.values()) + " |")
    print(flush=True)


def main(
    model: Annotated[str, typer.Option(help="A pipeline's folder or repository.")] = DEMO_MODEL,
    songs: Annotated[int, typer.Option(help="Pieces to synthesise; 0 for none.")] = 200,
    seconds: Annotated[float, typer.Option(help="Length of a piece or excerpt.")] = 8.0,
    music: Annotated[list[Path] | None, typer.Option(help="Folder of recordings; may be repeated.")] = None,
    most: Annotated[int, typer.Option(help="Excerpts per recording.")] = 12,
    layers: Annotated[str | None, typer.Option(help="Layers, with commas; all by default.")] = None,
) -> None:
    """Probe the layers of a top prior."""
    pipe = JukeboxPipeline.from_pretrained(model, low_memory=True)
    depth = pipe.priors[-1].config.num_hidden_layers
    wanted = list(range(depth + 1)) if layers is None else [int(layer) for layer in layers.split(",")]
    report: dict[str, Any] = {"model": "demo" if model == DEMO_MODEL else model, "seconds": seconds}
    if songs:
        report["synthesised"] = probe_songs(pipe, songs, seconds, wanted)
        table(report["synthesised"])
    if music:
        report["recordings"] = probe_music(pipe, music, seconds, most, wanted)
        table(report["recordings"])
    print(json.dumps(report))


if __name__ == "__main__":
    typer.run(main)
