"""Checks of the output folder and of the songs before training starts."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_jukebox import DEMO_MODEL, JukeboxPrior, JukeboxVQVAE
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.checkpoint import list_checkpoints
from hf_jukebox.training.data import DataArguments, encode_songs
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import train_prior
from hf_jukebox.training.train_vqvae import VQVAEArguments, train_vqvae

RATE = 22050
QUICK = {"downs_t": [6], "strides_t": [2], "multipliers": [1], "width": 4, "depth": 1, "codebook_size": 16}


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(2):
        add_song(folder, number)
    return folder


def add_song(folder: Path, number: int, seconds: float = 1.0) -> None:
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(folder / f"{number}.wav", noise, RATE)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hf_jukebox")
    return caplog


def train(tmp_path: Path, steps: int = 2, chunk_length: int = 2048, **options: Any) -> Path:
    loop: dict[str, Any] = {"train_batch_size": 1, "sample_steps": 0, "report_to": "none", "checkpointing_steps": 2}
    arguments = LoopArguments(output_dir=str(tmp_path / "run"), max_train_steps=steps, **loop | options)
    data = DataArguments(train_data_dir=str(tmp_path / "songs"))
    settings = tmp_path / "vqvae.json"
    settings.write_text(json.dumps(QUICK))
    return train_vqvae(VQVAEArguments("tiny_vqvae", str(settings), chunk_length=chunk_length), data, arguments)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_folder_is_not_overwritten_without_the_option(tmp_path: Path, songs: Path) -> None:
    run = train(tmp_path, steps=4, sample_steps=3)
    before = files_of(run)
    with pytest.raises(FileExistsError, match=r"run holds a finished model, checkpoint-4 of an earlier run: .*latest"):
        train(tmp_path, steps=2)
    assert files_of(run) == before
    train(tmp_path, steps=2, seed=1, overwrite_output_dir=True)
    assert not list((run / "samples").iterdir()) and "samples/" not in (run / "README.md").read_text("utf-8")
    assert [path.name for path in list_checkpoints(run)] == ["checkpoint-2"]  # and none of the run before
    assert files_of(run)["model.safetensors"] != before["model.safetensors"]
    train(tmp_path, steps=3, seed=1, resume_from_checkpoint="latest")


def test_latest_does_not_overwrite_a_finished_model_without_checkpoints(tmp_path: Path, songs: Path) -> None:
    run = train(tmp_path, steps=1)
    before = files_of(run)
    with pytest.raises(FileExistsError, match="run holds a finished model of an earlier run: it has no checkpoint"):
        train(tmp_path, resume_from_checkpoint="latest")
    assert files_of(run) == before


def test_checkpoints_without_a_finished_model_are_not_overwritten(tmp_path: Path, songs: Path) -> None:
    run = train(tmp_path)
    for path in run.iterdir():
        if path.is_file():
            path.unlink()
    with pytest.raises(FileExistsError, match="run holds checkpoint-2 of an earlier run"):
        train(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint-3 is not a complete checkpoint"):
        train(tmp_path, resume_from_checkpoint="checkpoint-3")


def test_latest_in_an_empty_folder_logs_that_it_starts_from_step_0(
    tmp_path: Path, songs: Path, log: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, steps=1, resume_from_checkpoint="latest")
    assert f"There is no checkpoint in {tmp_path / 'run'} yet: starting from step 0." in log.messages


def test_changed_songs_are_logged_once(tmp_path: Path, songs: Path, log: pytest.LogCaptureFixture) -> None:
    def warnings_of_resuming(steps: int) -> list[str]:
        log.clear()
        train(tmp_path, steps=steps, resume_from_checkpoint="latest")
        return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]

    train(tmp_path)
    assert warnings_of_resuming(4) == []
    for number in (2, 3):
        add_song(songs, number)
    (warning,) = warnings_of_resuming(6)
    assert "The data has changed since" in warning and "checkpoint-4" in warning
    assert "3 songs to train on, where there were 1." in warning  # of four songs the last is held out
    add_song(songs, 0, seconds=1.5)
    (warning,) = warnings_of_resuming(8)
    assert "3 songs to train on, but other ones, or cut differently." in warning


def test_changed_songs_of_a_code_cache_are_logged(tmp_path: Path, songs: Path, log: pytest.LogCaptureFixture) -> None:
    vqvae = JukeboxVQVAE.from_pretrained(train(tmp_path, steps=1))
    data = DataArguments(train_data_dir=str(songs))

    def train_on(codes: str, steps: int, **options: Any) -> None:
        encode_songs(data.open_songs(), vqvae, tmp_path / codes)
        loop: dict[str, Any] = {"train_batch_size": 1, "sample_steps": 0, "report_to": "none", "checkpointing_steps": 1}
        arguments = LoopArguments(str(tmp_path / "prior"), steps, **loop | options)
        model = PriorArguments(str(tmp_path / "run"), preset="tiny_prior", codes_dir=str(tmp_path / codes))
        train_prior(model, DataArguments(), arguments)

    train_on("before", 1)
    with pytest.raises(FileExistsError, match="overwrite_output_dir"):
        train_on("before", 1)
    add_song(songs, 2)
    train_on("after", 2, resume_from_checkpoint="latest")
    assert "2 songs to train on, where there were 1." in log.text


def test_a_single_song_is_trained_on_without_validation(
    tmp_path: Path, songs: Path, log: pytest.LogCaptureFixture
) -> None:
    (songs / "1.wav").unlink()
    run = train(tmp_path, steps=1, sample_steps=1)
    assert "0 for validation; no song is held out, so nothing is validated" in log.text
    assert "Not validated." in (run / "README.md").read_text("utf-8")


def test_songs_shorter_than_a_chunk_are_refused_with_a_length_that_fits(tmp_path: Path, songs: Path) -> None:
    add_song(songs, 0, seconds=2.3)
    with pytest.raises(
        ValueError, match=r"No song is left .* Chunks that fit: --chunk_length \d+, or less\.$"
    ) as error:
        train(tmp_path, chunk_length=262144)
    assert not (tmp_path / "run").exists()
    fitting = int(str(error.value).split("--chunk_length ")[1].split(",")[0])
    assert RATE < fitting <= 2 * RATE
    train(tmp_path, steps=1, chunk_length=fitting)


def test_songs_shorter_than_a_window_are_refused_with_settings_that_fit(tmp_path: Path, songs: Path) -> None:
    (songs / "metadata.csv").write_text("file_name,artist,genre\n0.wav,A,B\n1.wav,A,B\n")
    for number in range(2):
        add_song(songs, number, seconds=5.2)
    vqvae = str(Path(DEMO_MODEL) / "vqvae")
    codes = tmp_path / "codes"
    data = DataArguments(train_data_dir=str(songs))
    encode_songs(data.open_songs(), JukeboxVQVAE.from_pretrained(vqvae), codes)

    def start(data: DataArguments, **options: Any) -> Path:
        model = PriorArguments(vqvae, codes_dir=str(codes), **options)
        loop = LoopArguments(str(tmp_path / "run"), 1, 1, sample_steps=0, report_to="none", gradient_checkpointing=True)
        return train_prior(model, data, loop)

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "codebook_size": 1024}
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(sizes))
    with pytest.raises(ValueError, match=r'No song is left .* A window that fits: .* \{"n_ctx": \d+\}') as error:
        start(DataArguments(), preset="small_labelled_prior", model_config=str(settings))
    advice = str(error.value).split("A window that fits:")[1]
    settings.write_text(json.dumps(sizes | json.loads(advice[advice.index("{") : advice.index("}") + 1])))
    seconds = float(advice.split("--min_duration ")[1].rstrip("."))
    run = start(DataArguments(min_duration=seconds), preset="small_labelled_prior", model_config=str(settings))
    assert JukeboxPrior.from_pretrained(run).config.window_length <= 5.2 * RATE


def test_a_fine_tuned_prior_keeps_its_window(tmp_path: Path, songs: Path) -> None:
    (songs / "metadata.csv").write_text("file_name,artist,genre\n0.wav,A,B\n1.wav,A,B\n")
    model = PriorArguments(f"{DEMO_MODEL}/vqvae", prior=f"{DEMO_MODEL}/prior_2")
    data = DataArguments(train_data_dir=str(songs))
    with pytest.raises(ValueError, match=r"keeps the window of the prior; only a new prior can have a shorter one\.$"):
        train_prior(model, data, LoopArguments(str(tmp_path / "run"), 1, 1, sample_steps=0, report_to="none"))
