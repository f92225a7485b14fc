"""Audio files of a run: damaged ones are decoded again, and edited ones are kept but not read."""

import logging
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from helpers.tiny import RATE, codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SongRequest, pick_candidate

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def finished_run(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    generator = torch.Generator().manual_seed(1)
    length = codes_in_s(6)
    pipe(levels=2, audio_length_in_s=length, generator=generator, output_dir=folder, output_type="latent")
    return folder


@pytest.fixture
def finished(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "run", copy_function=shutil.copyfile)  # with new dates


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "level_2").iterdir())


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "header", "mp3-tag", "folder-gone"])
@pytest.mark.parametrize("command", ["resume", "continue"])
def test_a_damaged_or_foreign_file_is_decoded_again(
    pipe: JukeboxPipeline, finished: Path, damage: str, command: str
) -> None:
    path = finished / "level_2" / "item_0.wav"
    content = path.read_bytes()
    if damage == "folder-gone":
        shutil.rmtree(path.parent)
    else:
        kinds = {"empty": b"", "text": b"not audio" * 99, "cut": content[:-100], "header": content[:20]}
        path.write_bytes(kinds.get(damage, b"ID3\x04" + bytes(2000)))
    assert JukeboxRun.open(finished).audio_paths() == {}
    if command == "resume":
        pipe.resume_run(finished, output_type="latent")
        assert path.read_bytes() == content
    else:
        pipe.continue_run(finished, codes_in_s(8), output_type="latent")
    assert JukeboxRun.open(finished).audio_paths() == {2: [path]} and names(finished) == ["item_0.wav"]


def edit(path: Path, how: str) -> None:
    samples, _ = soundfile.read(path)
    if how == "cut":
        soundfile.write(path, samples[:300], RATE, subtype="PCM_16")
    elif how == "louder":
        soundfile.write(path, samples * 0.5, RATE, subtype="PCM_16")
    elif how == "float":
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    else:
        soundfile.write(path, samples[:, None].repeat(2, 1), RATE, format="FLAC")


@pytest.mark.parametrize("how", ["cut", "louder", "float", "other-format"])
def test_an_edited_file_is_kept_under_another_name(
    pipe: JukeboxPipeline, finished: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    path = finished / "level_2" / "item_0.wav"
    edit(path, how)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        pipe.continue_run(finished, codes_in_s(8), output_type="latent")
    assert (finished / "level_2" / "item_0.edited.wav").read_bytes() == content
    assert [record.getMessage().split(" was edited; it is kept as ")[1] for record in caplog.records] == [
        "item_0.edited.wav, and the audio of the run is written again."
    ]
    edit(path, "cut")
    pipe.continue_run(finished, codes_in_s(9), output_type="latent")
    assert names(finished) == ["item_0.edited-2.wav", "item_0.edited.wav", "item_0.wav"]


def test_files_that_the_run_wrote_are_replaced_silently(
    pipe: JukeboxPipeline, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe.continue_run(finished, codes_in_s(8), num_waveforms_per_prompt=2, output_type="latent")
    pick_candidate(finished, 1)
    pipe.continue_run(finished, codes_in_s(9), output_type="latent")
    assert names(finished) == ["item_0.wav"] and caplog.records == []


def test_an_edit_in_the_folder_of_a_song_of_a_batch_is_kept(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [SongRequest(name, seed=1, seconds=codes_in_s(3 + len(name))) for name in ("a", "bb")]
    pipe.sample_songs(songs, tmp_path, levels=2, output_type="latent")
    edit(tmp_path / "a" / "level_2" / "item_0.wav", "louder")
    for name in ("a", "bb"):
        pipe.continue_run(tmp_path / name, codes_in_s(8), output_type="latent")
    assert names(tmp_path / "a") == ["item_0.edited.wav", "item_0.wav"] and names(tmp_path / "bb") == ["item_0.wav"]


def test_a_run_in_a_folder_whose_name_is_not_utf8_has_its_audio_and_its_page(
    pipe: JukeboxPipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "caf\udce9"
    pipe(levels=2, audio_length_in_s=codes_in_s(3), output_dir=folder, output_type="latent")
    pipe.continue_run(folder, codes_in_s(4), output_type="latent")
    assert JukeboxRun.open(folder).audio_paths() == {2: [folder / "level_2" / "item_0.wav"]}
    assert "caf\ufffd" in (folder / "index.html").read_text(encoding="utf-8")
