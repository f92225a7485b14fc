"""One prompt in many styles: a grid of pieces that differ by their labels alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.audio import read_audio, write_audio

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from same_prompt_many_styles import main, names, parse_arguments

RATE = 22050


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the page of two artists, one of them twice, by two genres."""
    folder = tmp_path_factory.mktemp("styles")
    tiny_pipeline("tiny_labelled_prior").save_pretrained(folder / "model")
    write_audio(folder / "break.wav", noise_audio(codes_in_s(8)).numpy(), RATE)
    model, prompt, output = folder / "model", folder / "break.wav", folder / "styles"
    names = ["--artists", "the lanterns, night bus,night bus", "--genres", "rock,deep house"]
    length = ["--seconds", str(codes_in_s(16)), "--levels", "1"]
    arguments = [str(prompt), "--output", str(output), "--model", str(model), *names, *length, "--device", "cpu"]
    main(parse_arguments(arguments))
    return folder


def test_the_page_has_every_artist_with_every_genre(folder: Path) -> None:
    html = (folder / "styles" / "index.html").read_text("utf-8")
    titles = [
        f"{artist} · {genre}"
        for artist in ("the lanterns", "night bus", "night bus")
        for genre in ("rock", "deep house")
    ]
    positions = [html.index(f"<h2>{title}</h2>") for title in titles[:4]]
    assert positions == sorted(positions)
    assert html.count("<article") == html.count("<audio ") == 6
    assert "break.wav" in html


def test_samples_differ_by_their_labels_alone(folder: Path) -> None:
    pieces = [read_audio(folder / "styles" / "level_2" / f"item_{number}.wav", RATE) for number in range(6)]
    assert np.array_equal(pieces[2], pieces[4]) and np.array_equal(pieces[3], pieces[5])  # the same artist twice
    assert not np.array_equal(pieces[0], pieces[2])
    assert not np.array_equal(pieces[2], pieces[3])


def test_names_are_those_of_the_model_by_default(folder: Path) -> None:
    pipe = JukeboxPipeline.from_pretrained(folder / "model")
    assert names(pipe, "artists", None) == ["night bus", "the lanterns"]
    assert names(pipe, "genres", None) == ["deep house", "rock"]
    assert names(pipe, "genres", "a, b") == ["a", "b"]


def test_a_model_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="has no labels"):
        names(tiny_pipeline(), "artists", None)
