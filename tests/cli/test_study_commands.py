"""The commands that study recordings, with real files."""

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
