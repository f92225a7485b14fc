"""Songs as files to pass on: in every format they say where they come from, and some can be continued."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import mutagen
import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import run as command
from helpers.refusals import refusal, refusal_to_write
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline
from safetensors.torch import load, save

from hf_jukebox import JukeboxPipeline, JukeboxRun, SongRequest, export_run, open_song, pipeline_sampling
from hf_jukebox.audio.blocks import add_data, read_data
from hf_jukebox.audio.formats import FORMATS
from hf_jukebox.audio.mark import MARK
from hf_jukebox.files.tensors import tensors_metadata
from hf_jukebox.runs.song_files import read_song

LYRICS = "Über den Wolken, 雲の上\n" * 3


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(scope="module")
def run(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run: two candidates with a prompt, upsampled in parallel."""
    folder = tmp_path_factory.mktemp("runs") / "My song"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_sampling, "update_page", lambda *args: None)
        pipe(
            noise_audio(codes_in_s(4)),
            sampling_rate=22050,
            artist="night bus",
            lyrics=LYRICS,
            audio_length_in_s=codes_in_s(76),
            num_waveforms_per_prompt=2,
            upsampling="parallel",
            generator=7,
            output_dir=folder,
        )
    return folder


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch, no_fsync: None) -> None:
    monkeypatch.setattr(pipeline_sampling, "update_page", lambda *args: None)


def comment(path: Path) -> dict[str, Any]:
    """Return the comment of a file, as a program that is not ours reads it; of a wav file from its own chunk."""
    if path.suffix == ".wav":
        data = read_data(path)
        assert data is not None
        return json.loads(json.loads(tensors_metadata(data)["song"])["comments"]["comment"])
    tags = mutagen.File(path).tags
    return json.loads(str(tags["COMM::eng"]) if path.suffix == ".mp3" else tags["comment"][0])


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_says_that_a_machine_made_it_and_how(file_format: str, run: Path, tmp_path: Path) -> None:
    path, other = export_run(run, file_format, tmp_path)
    assert (path.name, other.name) == (f"My song-0.{file_format}", f"My song-1.{file_format}")
    content = comment(other)
    assert content["made_by"] == MARK
    assert content["fingerprints"] == JukeboxRun.open(run).step.model.parts
    assert (content["seed"], content["song"], content["level"], content["artist_label"]) == (7, 1, 0, "night bus")
    assert content["lyrics"] == LYRICS if file_format != "mp3" else content["lyrics"].startswith("Uber den Wolken, ")
    info = mutagen.File(path).info
    assert info.length == pytest.approx(codes_in_s(76), abs=0.1)
    bare = export_run(run, file_format, tmp_path / "bare", metadata=False)[0]
    assert comment(bare) == {"made_by": MARK}
    assert b"night bus" not in bare.read_bytes() and b"My song" not in bare.read_bytes()


def test_lossless_files_have_the_samples_of_the_run(run: Path, tmp_path: Path) -> None:
    wav = run / "level_1" / "item_1.wav"
    for file_format in ("wav", "flac"):
        (path,) = export_run(run, file_format, tmp_path, level=1, songs=[1])
        assert np.array_equal(soundfile.read(path, dtype="int16")[0], soundfile.read(wav, dtype="int16")[0])


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_that_are_there_are_kept(file_format: str, run: Path, tmp_path: Path) -> None:
    (path,) = export_run(run, file_format, tmp_path, songs=[0])
    assert export_run(run, file_format, tmp_path, songs=[0]) == [path]  # it is the same file
    path.write_text("of the user")
    for _ in range(2):
        (other,) = export_run(run, file_format, tmp_path, songs=[0])
        assert (path.read_text(), other.name) == ("of the user", f"My song-0-2.{file_format}")
    (coarse,) = export_run(run, file_format, tmp_path, songs=[0], level=1)
    assert coarse.name == f"My song-0-level_1.{file_format}"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_audio_that_was_edited_is_exported_without_codes(file_format: str, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    wav = copy / "level_0" / "item_1.wav"
    samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(wav, samples // 2, rate)
    result = command("export", copy, "--to", file_format, "-o", tmp_path)
    assert result.exit_code == 0
    assert f"{wav} was edited, so the codes of the run" in result.stderr and result.stderr.count("\n") == 1
    assert read_song(tmp_path / f"copy-0.{file_format}").levels
    with pytest.raises(ValueError, match="holds no codes"):
        read_song(tmp_path / f"copy-1.{file_format}")


def test_a_full_disk_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise soundfile.LibsndfileError(2)

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    result = command("export", run, "--to", "wav", "-o", tmp_path)
    path = tmp_path / "My song-0.wav"
    assert result.exit_code == 2
    assert result.stderr.startswith(f"hf-jukebox: {path} cannot be written: the disk may be full (System error")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_a_song_file_is_opened_as_the_run_that_it_came_from(
    pipe: JukeboxPipeline, file_format: str, run: Path, tmp_path: Path
) -> None:
    path = export_run(run, file_format, tmp_path)[1]
    folder = open_song(path, tmp_path / "again")
    first, again = JukeboxRun.open(run), JukeboxRun.open(folder)
    assert all(torch.equal(a[1:], b) for a, b in zip(first.codes, again.codes, strict=True))
    assert again.is_finished and again.request.songs == [first.request.songs[1]]
    assert again.step.known == [[known[1]] for known in first.step.known]
    pipe.resume_run(folder)  # decodes the audio that a song file does not have: that of all levels, seams included
    for level in range(3):
        name = f"level_{level}/item_"
        assert (folder / f"{name}0.wav").read_bytes() == (run / f"{name}1.wav").read_bytes()
    pipe.continue_run(folder, codes_in_s(80), levels=2)
    assert JukeboxRun.open(folder).codes[2].shape == (1, 80)


def test_a_song_of_a_batch_and_a_sketch_are_exported_as_what_they_are(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [SongRequest(name=f"song-{codes}", seconds=codes_in_s(codes)) for codes in (4, 7)]
    pipe.sample_songs(songs, tmp_path / "batch", levels=2)
    paths = export_run(tmp_path / "batch", "flac", tmp_path)
    assert [path.name for path in paths] == ["song-4.flac", "song-7.flac"]
    folder = open_song(paths[0], tmp_path / "opened")
    assert [codes.shape[1] for codes in JukeboxRun.open(folder).codes] == [0, 0, 4]
    pipe.upsample_run(folder)
    assert JukeboxRun.open(folder).codes[0].shape[1] == 4 * 16


def test_loudness_changes_the_file_and_not_the_run(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wav = run / "level_0" / "item_0.wav"
    before = wav.read_bytes()
    with caplog.at_level(logging.WARNING):
        (path,) = export_run(run, "wav", tmp_path, songs=[0], loudness=-30)
    samples, original = soundfile.read(path)[0], soundfile.read(wav)[0]
    assert wav.read_bytes() == before
    factor = (samples @ original) / (original @ original)
    assert factor < 1 and np.allclose(samples, original * factor, atol=1e-4)


def test_samples_that_clip_are_counted(
    pipe: JukeboxPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = pipe.vqvae.decode_block
    monkeypatch.setattr(pipe.vqvae, "decode_block", lambda *args: decode(*args).abs() * 0 + 2)
    pipe(audio_length_in_s=codes_in_s(4), levels=2, output_dir=tmp_path / "loud")
    with caplog.at_level(logging.WARNING):
        export_run(tmp_path / "loud")
    assert f"clips: {4 * 128} samples reach full scale." in caplog.text


def test_a_song_without_codes_or_with_wrong_ones_is_refused_in_one_sentence(run: Path, tmp_path: Path) -> None:
    (path,) = export_run(run, "flac", tmp_path, songs=[0])
    samples, rate = soundfile.read(path)
    for name in ("again.mp3", "again.flac"):  # as any other program writes them anew
        soundfile.write(tmp_path / name, samples, rate)
    data = read_data(path)
    assert data is not None
    tensors, metadata = load(data), tensors_metadata(data)
    song = json.loads(metadata["song"])
    request = json.loads(song["request"])

    def asked(steps: object) -> dict[str, str]:
        return {"song": json.dumps(song | {"request": json.dumps(steps)})}

    cases: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
        "other": (tensors | {"x": torch.zeros(1)}, metadata),
        "short": (tensors | {"0.codes": tensors["0.codes"][:, :-5]}, metadata),
        "negative": (tensors | {"2.codes": -tensors["2.codes"] - 1}, metadata),
        "nothing": (tensors, {}),
        "a-list": (tensors, {"song": "[1]"}),
        "two-songs": (tensors, asked(request | {"steps": request["steps"] * 2})),
        "newer": (tensors, asked(request | {"format_version": 99})),
    }
    for name, content in cases.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
        add_data(tmp_path / f"{name}.wav", save(*content))

    def refused(name: str) -> str:
        return refusal_to_write(tmp_path, lambda: open_song(tmp_path / name, tmp_path / "opened"))

    assert "holds no codes: only .wav or .flac files" in refused("again.mp3")
    assert "another program has written it since" in refused("again.flac")
    for name in ("other", "short", "negative", "nothing", "a-list", "two-songs"):
        assert "is damaged" in refused(f"{name}.wav")
    assert "newer hf_jukebox" in refused("newer.wav")
    (tmp_path / "of_run.wav").write_bytes((run / "level_0" / "item_0.wav").read_bytes())
    assert "continue the run itself" in refused("of_run.wav")


def test_a_folder_that_exists_is_not_written_to(run: Path, tmp_path: Path) -> None:
    (path,) = export_run(run, "flac", tmp_path, songs=[0])
    (tmp_path / "there").mkdir()
    assert "exists already" in refusal(lambda: open_song(path, tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []


def test_wrong_exports_are_refused(run: Path, tmp_path: Path) -> None:
    assert "There is no format 'aac'" in refusal(lambda: export_run(run, "aac", tmp_path))
    assert "no audio at level 3" in refusal(lambda: export_run(run, "wav", tmp_path, level=3))
    assert "there is no 2" in refusal(lambda: export_run(run, "wav", tmp_path, songs=[2]))
    assert list(tmp_path.iterdir()) == []


def test_a_song_file_is_continued_on_the_command_line(
    pipe: JukeboxPipeline, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "My song-1.flac"
    assert command("export", run, "--to", "flac", "--song", 1, "-o", tmp_path).output == f"{path}\n"
    sample = ("continue", path, "--seconds", codes_in_s(80), "--levels", 2, "-q", "--model")
    result = command(*sample, tmp_path / "model")
    assert result.exit_code == 0, result.output
    assert JukeboxRun.open(tmp_path / "My song-1").codes[2].shape == (1, 80)
    assert read_song(path).run.seconds == pytest.approx(codes_in_s(76))

    tiny_pipeline("tiny_labelled_prior", seed=9).save_pretrained(tmp_path / "other")
    shorter = ("continue", path, "--seconds", codes_in_s(70), "-q", "--model", tmp_path / "model", "-o", "new")
    for words, message in (
        ((*sample, tmp_path / "other", "-o", "new"), "was sampled with another model: vqvae differ"),
        (shorter, "ask for more than that"),
    ):
        result = command(*words)
        assert result.exit_code == 2 and message in result.stderr, result.output
        assert not (tmp_path / "new").exists()
