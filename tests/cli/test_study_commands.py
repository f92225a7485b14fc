"""The commands that study recordings, with real files."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from helpers.command_line import run
from helpers.tiny import RATE, codes_in_s, noise_audio

from hf_jukebox import JukeboxPipeline
from hf_jukebox.audio import write_audio


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Folder of two recordings, and a file that is none."""
    for name, length in {"a.wav": 70, "sub/b.wav": 20}.items():
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(tmp_path / "music" / name, noise_audio(codes_in_s(length)).numpy(), RATE)
    (tmp_path / "music" / "bad.wav").write_text("not audio")
    return tmp_path / "music"


def test_embed_writes_what_python_embeds(model: Path, music: Path, tmp_path: Path) -> None:
    arguments = ["--model", model, "--layers", "3,1", "--pool", "mean,code", "--hop-fraction", 0.5, "--device", "cpu"]
    result = run("embed", music, "-o", tmp_path / "x.npz", *arguments, "--progress", "json")
    assert result.exit_code == 0, result.output
    assert "hf-jukebox: Skipping a recording that cannot be embedded: bad.wav" in result.stderr
    *lines, last = (json.loads(line) for line in result.stdout.splitlines())
    assert [(line["recording"], line["embedded"], line["done"]) for line in lines] == [
        ("a.wav", True, 1),
        ("bad.wav", False, 2),
        ("sub/b.wav", True, 3),
    ]
    assert last["embedded"] == 2 and list(last["skipped"]) == ["bad.wav"]
    pipe = JukeboxPipeline.from_pretrained(model)
    expected = pipe.embed([music / "a.wav", music / "sub/b.wav"], layers=(3, 1), pool=("mean", None), hop_fraction=0.5)
    with np.load(tmp_path / "x.npz") as content:
        assert np.array_equal(content["mean"], expected.pooled["mean"])
        assert np.array_equal(content["code"], np.concatenate(expected.pooled[None]))


def test_files_folders_and_saved_data_sets_can_be_mixed(model: Path, music: Path, tmp_path: Path) -> None:
    content = (music / "a.wav").read_bytes()
    Dataset.from_dict({"audio": [{"path": None, "bytes": content}]}).save_to_disk(tmp_path / "set")
    sources = [music / "a.wav", music / "sub", tmp_path / "set"]
    result = run("embed", *sources, "-o", tmp_path / "x.npz", "--model", model, "-q")
    assert result.exit_code == 0 and result.output == ""
    with np.load(tmp_path / "x.npz") as content:
        assert list(content["recordings"])[:2] == [str(music / "a.wav"), f"{music / 'sub'}/b.wav"]
        assert np.array_equal(content["mean"][0], content["mean"][2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "a"], "--layers takes numbers with commas, such as 24,36, not 'a'."),
        (["--layers", 4], "There is no layer 4: this prior has 3"),
        (["--pool", "max"], "--pool takes mean, code or seconds"),
        (["--pool", "-1"], "--pool takes mean, code or seconds"),
        (["--windows", 0], "--windows must be at least 1, not 0."),
        (["--compat", "x"], "--compat must be jukemir, not 'x'."),
        (["--compat", "jukemir", "--dtype", "float16"], "load the pipeline with --dtype float32."),
        (["--dataset", "a/b"], "Give recordings, or a data set with --dataset."),
        (["none.wav"], "There is no file none.wav; check its name."),
        (["-o", "x.csv"], "x.csv must end in .parquet or .npz"),
        (["-o", "no-folder/x.npz"], "is no folder that can be written to; give --output another place."),
        (["--model", "no/such/model"], "There is no folder no/such/model; check its name."),
    ],
)
def test_wrong_arguments_are_one_line(
    model: Path, music: Path, tmp_path: Path, arguments: list[object], message: str
) -> None:
    given = ["-o", tmp_path / "x.npz", "--model", model, music / "a.wav", *arguments]
    result = run("embed", *given)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("Loading ")]
    assert line.startswith("hf-jukebox: ") and message in line
    assert not list(tmp_path.glob("x.npz*"))


# Score -----------------------------------------------------------------------------------------------------------


def test_score_prints_and_writes_what_python_scores(model: Path, music: Path, tmp_path: Path) -> None:
    arguments = ["--model", model, "--levels", "2,1", "--compare", "genre", "--artist", "night bus", "--device", "cpu"]
    arguments += ["--step", codes_in_s(10), "--plot"]
    result = run(
        "score", music / "a.wav", music / "bad.wav", music / "sub/b.wav", "-o", tmp_path / "scores", *arguments
    )
    assert result.exit_code == 0, result.output
    assert "hf-jukebox: Skipping a recording that cannot be read: " in result.stderr and "bad.wav" in result.stderr
    first, second = result.stdout.splitlines()
    pipe = JukeboxPipeline.from_pretrained(model)
    (score,) = pipe.score(music / "a.wav", levels=(2, 1), artist="night bus")
    (posterior,) = pipe.compare_labels(music / "a.wav", "genre", artist="night bus")
    level_1, level_2 = (f"level {level} {score.levels[level].bits_per_code:.3f}" for level in (1, 2))
    best = f"genre {posterior.best} ({posterior.whole.max():.0%})"
    assert first == f"{music / 'a.wav'}: bits per code: {level_1}, {level_2}; {best}"
    assert second.startswith(f"{music / 'sub/b.wav'}: ")
    names = sorted(path.name for path in (tmp_path / "scores").iterdir())
    assert names == ["a.json", "a.npz", "a.png", "b.json", "b.npz", "b.png"]
    summary = json.loads((tmp_path / "scores" / "a.json").read_text())
    np.testing.assert_allclose(summary["levels"]["2"]["curve"], score.levels[2].curve(codes_in_s(10)), atol=1e-3)
    assert list(summary["labels"]["genre"]["posterior"]) == ["deep house", "rock"]
    with np.load(tmp_path / "scores" / "a.npz", allow_pickle=False) as content:
        assert np.array_equal(content["bits_1"], score.levels[1].bits)
        assert np.array_equal(content["ranks_2"], score.levels[2].ranks)
    assert (tmp_path / "scores" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_recording_that_is_too_short_is_named_and_the_others_are_scored(model: Path, music: Path) -> None:
    short = music / "short.wav"
    write_audio(short, noise_audio(codes_in_s(0.3)).numpy(), RATE)
    result = run("score", short, music / "a.wav", "--model", model, "--levels", 2)
    assert result.exit_code == 0 and result.stdout.startswith(f"{music / 'a.wav'}: bits per code: level 2 ")
    *_, named, counted = result.stderr.splitlines()
    assert named.startswith(f"hf-jukebox: Skipped {short}: ")
    assert counted == "hf-jukebox: 1 of 2 recordings could not be scored."
    alone = run("score", short, "--model", model, "--levels", 2)
    assert alone.exit_code == 2 and alone.stdout == ""


def test_scores_as_json_lines(model: Path, music: Path) -> None:
    result = run("score", music / "sub/b.wav", "--model", model, "--levels", 2, "--progress", "json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["recording"] == str(music / "sub/b.wav") and summary["levels"]["2"]["codes"] == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "mood"], "--compare must be artist or genre, not 'mood'."),
        (["--compare", "genre", "--genre", "rock"], "--genre is given, so there is nothing to compare"),
        (["--compare", "genre", "--names", "rock,polka"], "was not trained with the genre 'polka'; check its name."),
        (["--names", "rock"], "--names are those of one --compare"),
        (["--step", 0], "--step must be a number of seconds above 0, not 0."),
        (["--plot"], "--plot needs a folder for the pictures"),
        (["--levels", 5], "--levels takes numbers from 0"),
        (["none.wav"], "There is no file none.wav; check its name."),
    ],
)
def test_wrong_arguments_of_score_are_one_line(model: Path, music: Path, arguments: list[object], message: str) -> None:
    result = run("score", "--model", model, music / "a.wav", *arguments)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("Loading ")]
    assert line.startswith("hf-jukebox: ") and message in line


def test_a_plot_without_matplotlib_is_refused_before_the_model_is_loaded(
    model: Path, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    result = run("score", music / "a.wav", "--plot", "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 2
    assert result.stderr == (
        "hf-jukebox: Plots need matplotlib; install it with: pip install 'hf_jukebox[study]', or leave the plots out.\n"
    )
