"""Runs continued from the command line: co-composing, and progress for people and for programs."""

import errno
import json
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from helpers.command_line import run
from helpers.tiny import RATE, codes_in_s, noise_audio
from typer.testing import Result

from hf_jukebox import JukeboxPipeline
from hf_jukebox.runs.folder import JukeboxRun


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def succeed(*arguments: object) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def wavs(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("level_*/*.wav"))


def test_four_seconds_are_sampled_picked_continued_and_upsampled(model: Path, tmp_path: Path) -> None:
    song = tmp_path / "song"
    options = ["--model", model, "--artist", "night bus", "--seed", 1]
    succeed("sample", "--output", song, "--levels", 2, "--seconds", codes_in_s(4), "--num-samples", 3, *options)
    assert wavs(song) == [f"level_2/item_{item}.wav" for item in range(3)]
    assert (song / "index.html").is_file()
    sampled = JukeboxRun.open(song).codes[2]
    assert "Picked candidate 1" in succeed("pick", song, 1).stdout
    succeed("continue", song, "--seconds", codes_in_s(8), "--num-samples", 2, "--artist", "the lanterns")
    succeed("pick", song, 0)
    result = succeed("upsample", song, "--temperature", "0.9,0.95,1")
    assert str(song / "level_0" / "item_0.wav") in result.stdout.replace("\n", "")
    finished = JukeboxRun.open(song)
    assert finished.is_finished and wavs(song) == [f"level_{level}/item_0.wav" for level in range(3)]
    assert torch.equal(finished.codes[2][:, :4], sampled[1:2])
    assert [step.request.songs[0].artist for step in finished.steps[1:3]] == ["night bus", "the lanterns"]
    assert [settings.temperature for settings in finished.request.settings] == [0.9, 0.95, 1.0]


def test_a_compiled_run_goes_on_without_where_there_is_no_compiler(model: Path, tmp_path: Path) -> None:
    song = tmp_path / "song"
    succeed("sample", "--output", song, "--levels", 2, "--seconds", codes_in_s(4), "--model", model)
    path = song / "request.json"
    path.write_text(path.read_text().replace('"is_compiled": false', '"is_compiled": true'))
    with torch._inductor.config.patch({"cpp.cxx": ("no-compiler",)}):
        result = succeed("upsample", song)
    assert "Going on with a compiled step, as the run began, needs a C++ compiler (no-compiler)" in result.stderr
    assert [step.model.is_compiled for step in JukeboxRun.open(song).steps] == [True, False]


def test_a_folder_that_holds_a_run_is_left_alone_and_the_next_command_named(model: Path, tmp_path: Path) -> None:
    arguments = ["sample", "--output", tmp_path, "--model", model, "--seconds", codes_in_s(3), "--levels", 2]
    succeed(*arguments)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run(*arguments)
    assert result.exit_code == 2 and result.stderr.count("hf-jukebox:") == 1
    assert "finished run" in result.stderr and "hf-jukebox continue" in result.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_an_output_a_new_folder_is_made(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("jukebox-out", "jukebox-out-2"):
        succeed("sample", "--model", model, "--seconds", codes_in_s(2), "--levels", 2)
        assert wavs(tmp_path / name) == ["level_2/item_0.wav"]


def test_progress_as_json_lines(model: Path, tmp_path: Path) -> None:
    result = succeed(
        "sample", "-o", tmp_path, "--model", model, "--seconds", codes_in_s(3), "--levels", "2,1", "--progress", "json"
    )
    *lines, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["level"] for line in lines if line["seconds_done"] == line["seconds_total"]] == [2, 1]
    assert lines[-1]["level_seconds_left"] == lines[-1]["run_seconds_left"] == 0
    assert last["finished"] and last["audio"]["1"] == [str(tmp_path / "level_1" / "item_0.wav")]


def test_a_full_disk_is_named_with_the_command_that_continues(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hf_jukebox.runs.audio_files.write_wav", full)
    result = run("sample", "-o", tmp_path, "--model", model, "--seconds", codes_in_s(2), "--levels", 2)
    assert result.exit_code == 2
    assert f"make room, then continue with: hf-jukebox resume {tmp_path}\n" in result.stderr


def test_a_run_that_cannot_go_on_is_refused_before_the_model_is_loaded(model: Path, tmp_path: Path) -> None:
    (tmp_path / "songs.yaml").write_text(f"[{{name: one, seconds: {codes_in_s(3)}}}]")
    batch, song, half = tmp_path / "batch", tmp_path / "batch" / "one", tmp_path / "half"
    succeed("sample", "--requests", tmp_path / "songs.yaml", "-o", batch, "--model", model, "--levels", 2)
    options = {"levels": 2, "output_dir": half, "callback": lambda progress: False}
    JukeboxPipeline.from_pretrained(model)(audio_length_in_s=codes_in_s(4), **options)
    refused = [
        (["continue", song, "--seconds", codes_in_s(3)], "long already; ask for more than that"),
        (["continue", batch, "--seconds", 9], "is a batch of songs"),
        (["upsample", batch], "is a batch of songs"),
        (["upsample", half], f"is not finished; resume it first: hf-jukebox resume {half}"),
    ]
    for words, message in refused:
        (line,) = run(*words).stderr.splitlines()  # without "Loading"
        assert message in line
    with JukeboxRun.open_for_writing(song):
        for words in (["resume"], ["continue", "--seconds", 9], ["upsample"]):
            (line,) = run(words[0], song, *words[1:]).stderr.splitlines()
            assert "is in use by process" in line


def test_quiet_does_not_silence_json_that_was_asked_for(model: Path, tmp_path: Path) -> None:
    words = ["--model", model, "--seconds", codes_in_s(2), "--levels", 2, "--quiet", "--progress", "json"]
    result = succeed("sample", "-o", tmp_path, *words)
    assert json.loads(result.stdout.splitlines()[-1])["finished"] and result.stderr == ""


def test_quiet_prints_nothing(model: Path, tmp_path: Path) -> None:
    result = succeed("sample", "-o", tmp_path, "--model", model, "--seconds", codes_in_s(2), "--levels", 2, "--quiet")
    assert result.stdout == "" and result.stderr == ""


def test_songs_of_a_file_become_runs_of_their_own(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "prompt.wav", noise_audio(codes_in_s(3)).numpy(), RATE)
    songs = [
        {"name": "bus", "artist": "night bus", "prompt": "prompt.wav", "seconds": codes_in_s(5), "seed": 1},
        {"artist": "the lanterns", "seconds": codes_in_s(4), "seed": 2},
    ]
    (tmp_path / "songs.yaml").write_text(yaml.safe_dump(songs))
    out = tmp_path / "out"
    succeed("sample", "--requests", tmp_path / "songs.yaml", "--output", out, "--model", model, "--levels", 2)
    assert wavs(out / "bus") == wavs(out / "song-2") == ["level_2/item_0.wav"]
    assert JukeboxRun.open(out / "song-2").request.songs[0].artist == "the lanterns"
    assert (out / "bus" / "index.html").is_file()
    result = run("sample", "--requests", tmp_path / "songs.yaml", "--output", tmp_path / "x", "--seconds", 3)
    assert result.exit_code == 2 and "--seconds cannot be combined with --requests" in result.stderr


def test_codes_of_the_published_code_are_upsampled(model: Path, tmp_path: Path) -> None:
    top = torch.randint(64, (2, 5), generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(2, 0, dtype=torch.long)
    torch.save({"zs": [empty, empty, top], "labels": [{"info": [{"artist": "x"}]}]}, tmp_path / "data.pth.tar")
    out = tmp_path / "out"
    assert "--output" in run("upsample", tmp_path / "data.pth.tar", "--model", model).stderr
    succeed("upsample", tmp_path / "data.pth.tar", "--output", out, "--model", model, "--artist", "night bus")
    assert torch.equal(JukeboxRun.open(out).codes[2], top)
    assert wavs(out) == [f"level_{level}/item_{item}.wav" for level in (0, 1) for item in (0, 1)]


def test_a_song_file_is_upsampled(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("sample", "--output", "song", "--levels", 2, "--seconds", codes_in_s(3), "--model", model)
    succeed("export", "song", "--output", ".")
    succeed("upsample", "song.flac")
    assert wavs(tmp_path / "song-2") == [f"level_{level}/item_0.wav" for level in range(2)]
    assert torch.equal(JukeboxRun.open("song-2").codes[2], JukeboxRun.open("song").codes[2])
    for missing in ("none.flac", "none.pth.tar"):
        assert f"There is no file {missing}; check its name." in run("upsample", missing).stderr
    assert "--output is for files; song is a run" in run("upsample", "song", "--output", "x").stderr


def test_no_internals_of_the_unpickler_are_shown(model: Path, tmp_path: Path) -> None:
    for content in (b"", b"RIFF....", b"0" * 200, b"."):
        (tmp_path / "data.pth.tar").write_bytes(content)
        result = run("upsample", tmp_path / "data.pth.tar", "--output", tmp_path / "out", "--model", model)
        assert result.stderr.splitlines()[-1] == (
            f"hf-jukebox: {tmp_path / 'data.pth.tar'} is not a torch checkpoint, or is damaged; download it again."
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 1}, "holds no codes"),
        ({"zs": [1, 2]}, "holds no codes"),
        ({"zs": Path("x")}, "holds a Python object of type pathlib"),
    ],
)
def test_a_file_without_codes_is_refused(model: Path, tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "data.pth.tar")
    result = run("upsample", tmp_path / "data.pth.tar", "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", [["resume"], ["continue", "--seconds", "3"], ["upsample"], ["pick", "0"]], ids=lambda command: command[0]
)
def test_a_folder_without_a_run_is_refused(tmp_path: Path, command: list[str]) -> None:
    result = run(command[0], tmp_path / "none", *command[1:])
    assert result.exit_code == 2 and "holds no run" in result.stderr
    assert not (tmp_path / "none").exists()
