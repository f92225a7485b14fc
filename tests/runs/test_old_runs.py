"""Runs of an older version can be opened, resumed with the same bits, continued and upsampled."""

import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxRun
from hf_jukebox.runs.model_source import model_of_run

pytestmark = pytest.mark.usefixtures("no_fsync")

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "runs" / "1bafd47.tar.xz"  # see the README beside it


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    pipe = JukeboxPipeline.from_pretrained(DEMO_MODEL)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_old_runs_are_opened(runs: Path) -> None:
    finished, interrupted = JukeboxRun.open(runs / "finished"), JukeboxRun.open(runs / "interrupted")
    assert finished.is_finished and finished.num_filled[2] == [43] and list(finished.audio_paths()) == [2]
    assert not interrupted.is_finished and interrupted.num_filled[2] == [8]
    picked = JukeboxRun.open(runs / "picked")
    aside = JukeboxRun.open(runs / "picked" / "earlier" / "0")
    assert [step.action for step in picked.steps] == ["sample", "pick"] and picked.is_finished
    assert torch.equal(picked.codes[2], aside.codes[2][1:]) and len(aside.audio_paths()[2]) == 2
    batch = JukeboxRun.open(runs / "batch")
    assert [place.name for place in batch.step.folders] == ["first", "second"]
    assert JukeboxRun.open(runs / "batch" / "first").is_finished


@pytest.mark.parametrize("name", ["finished", "interrupted", "picked", "picked/earlier/0", "batch", "batch/second"])
def test_the_demo_model_of_old_runs_is_found(runs: Path, name: str) -> None:
    assert model_of_run(JukeboxRun.open(runs / name)) == DEMO_MODEL


def test_an_interrupted_old_run_is_resumed_with_the_same_bits(pipe: JukeboxPipeline, runs: Path) -> None:
    pipe.resume_run(runs / "interrupted", output_type="latent")
    finished, resumed = JukeboxRun.open(runs / "finished"), JukeboxRun.open(runs / "interrupted")
    assert torch.equal(resumed.codes[2], finished.codes[2])
    samples = [soundfile.read(run.audio_path(2, 0), dtype="int16")[0] for run in (resumed, finished)]
    assert np.array_equal(*samples)


@pytest.mark.parametrize("name", ["finished", "picked", "batch/first"])
def test_old_runs_are_continued_and_upsampled(
    pipe: JukeboxPipeline, runs: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = JukeboxRun.open(runs / name).codes[2]
    with caplog.at_level(logging.WARNING):
        pipe.continue_run(runs / name, 0.52, output_type="latent")
    run = JukeboxRun.open(runs / name)
    assert torch.equal(run.codes[2][:, : before.shape[1]], before) and run.is_finished
    assert [path.name for path in (runs / name / "level_2").iterdir()] == ["item_0.wav"]  # none was taken for edited
    if name == "picked":
        pipe.upsample_run(runs / name, output_type="latent")
        assert sorted(JukeboxRun.open(runs / name).audio_paths()) == [0, 1, 2]
    assert caplog.records == []


def test_edited_audio_of_an_old_run_is_kept(pipe: JukeboxPipeline, runs: Path) -> None:
    path = runs / "finished" / "level_2" / "item_0.wav"
    header, samples = path.read_bytes()[:44], path.read_bytes()[44:-2000]
    header = header[:4] + (36 + len(samples)).to_bytes(4, "little") + header[8:40] + len(samples).to_bytes(4, "little")
    path.write_bytes(header + samples)
    pipe.continue_run(runs / "finished", 0.52, output_type="latent")
    assert path.with_name("item_0.edited.wav").read_bytes() == header + samples


def test_an_old_run_with_names_that_are_reserved_now_is_opened_and_resumed(pipe: JukeboxPipeline, runs: Path) -> None:
    names = {"first": "surprise", "second": "export"}
    text = (runs / "batch" / "request.json").read_text()
    audio = {}
    for old, new in names.items():
        text = text.replace(f'"name": "{old}"', f'"name": "{new}"')
        (runs / "batch" / old).rename(runs / "batch" / new)
        audio[new] = runs / "batch" / new / "level_2" / "item_0.wav"
    (runs / "batch" / "request.json").write_text(text)
    before = {name: path.read_bytes() for name, path in audio.items()}
    for path in audio.values():
        path.unlink()
    assert [part.name for part in JukeboxRun.open(runs / "batch").step.folders] == list(names.values())
    pipe.resume_run(runs / "batch", output_type="latent")
    for name, path in audio.items():
        assert soundfile.read(path, dtype="int16")[0].tobytes() in before[name]
