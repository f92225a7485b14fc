"""Output of the commands on a terminal, in a log file and for a program, and paths as people write them."""

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from helpers.command_line import run
from helpers.forked import Forked
from helpers.loopback_hub import COMMIT, loopback_hub
from helpers.tiny import RATE, codes_in_s, noise_audio

import hf_jukebox
from hf_jukebox.cli import progress
from hf_jukebox.runs.folder import JukeboxRun

SAMPLE = ["sample", "-o", "run", "--model"]
SHORT = ["--seconds", str(codes_in_s(3)), "--levels", "2", "--seed", "0"]


def process(*words: object, folder: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "hf_jukebox", *map(os.fsencode, map(str, words))]
    return subprocess.run(command, capture_output=True, cwd=folder, env=os.environ | environment)


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"hf-jukebox {hf_jukebox.__version__}\n"


def test_without_a_command_the_help_is_shown() -> None:
    result = run()
    assert result.exit_code == 0 and "Usage:" in result.output and "continue" in result.output


def test_a_process_prints_nothing_of_its_libraries(model: Path, tmp_path: Path) -> None:
    done = process("sample", "-o", "run", "--model", model, *SHORT, folder=tmp_path)
    assert done.returncode == 0
    first, last = done.stderr.decode().splitlines()
    assert first == f"Loading {model} ..."
    assert last.startswith("level 2: ") and last.endswith("0:00 left, 0:00 for all levels")
    head, *paths = done.stdout.decode().splitlines()
    assert head.startswith("run: 1 x ") and paths == ["  run/level_2/item_0.wav"]


def test_a_terminal_shows_the_current_task_and_bars(model: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with Forked("hf_jukebox", *SAMPLE, model, *SHORT, stderr=theirs, folder=tmp_path) as started:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # raised by a terminal at its end
            while block := os.read(ours, 1 << 16):
                shown += block
        assert started.stdout is not None
        assert started.stdout.read().decode().splitlines()[1:] == ["  run/level_2/item_0.wav"]
    os.close(ours)
    text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", shown.decode())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert started.returncode == 0 and any(line.endswith(f"Loading {model} ...") for line in lines)
    assert [line for line in lines if "Loading" not in line and not line.startswith("level 2 ")] == []
    assert "weights" not in text and "components" not in text


def test_a_file_name_that_is_not_utf8_is_printed_unchanged(model: Path, tmp_path: Path) -> None:
    prompt = os.fsdecode(b"caf\xe9.wav")
    soundfile.write(tmp_path / "prompt.wav", noise_audio(codes_in_s(6)).numpy(), RATE)
    os.rename(tmp_path / "prompt.wav", tmp_path / prompt)
    done = process("sample", "none-" + prompt, "-o", "run", "--model", model, *SHORT, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == b"hf-jukebox: There is no file none-caf\xe9.wav; check its name.\n"
    done = process("pick", os.fsdecode(b"\xe9"), 0, folder=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.startswith(b"hf-jukebox: \xe9 holds no run")


@pytest.mark.parametrize("name", ["Song [dQw4w9WgXcQ]", "a[/b]", "x:fire:y", "it's 100 % $HOME", "v" * 100])
def test_paths_are_printed_unchanged(model: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a[" / name
    result = run("sample", "-o", folder, "--model", model, "--num-samples", 2, *SHORT)
    assert result.exit_code == 0, result.output
    head, *paths = result.stdout.splitlines()
    assert head.startswith(f"{folder}: 2 x ")
    assert paths == [f"  {folder}/level_2/item_{item}.wav" for item in range(2)]
    assert run("pick", folder, 1).stdout == (
        f"Picked candidate 1, now item_0.wav. All candidates are kept in {folder}/earlier.\n"
    )


def test_commands_to_copy_are_quoted_for_the_shell(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my model [v2]"
    priors = [word for level in range(3) for word in ("--prior", model / f"prior_{level}")]
    result = run("assemble", "--vqvae", model / "vqvae", *priors, "--output", folder)
    assert result.exit_code == 0, result.output
    said, _, command = result.stdout.strip().partition(" Use it with: ")
    assert said == f"Wrote {folder}."
    assert shlex.split(command) == ["hf-jukebox", "sample", "--model", str(folder)]
    assert result.stderr == f"Assembling {folder} ...\n"


def test_a_home_folder_is_expanded_in_every_path(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    (home / "model").symlink_to(model)
    (home / "lyrics.txt").write_text("la la")
    soundfile.write(home / "prompt.wav", noise_audio(codes_in_s(2)).numpy(), RATE)
    (home / "songs.yaml").write_text(f"[{{name: one, seconds: {codes_in_s(3)}}}]")
    common = ["--model=~/model", *SHORT]
    first = run("sample", "~/prompt.wav", "--output=~/run", "--lyrics-file=~/lyrics.txt", *common)
    assert first.exit_code == 0, first.output
    songs = ["--model=~/model", "--levels", 2]
    assert run("sample", "--requests=~/songs.yaml", "-o", "~/songs", *songs).exit_code == 0
    assert run("continue", "~/run", "--seconds", codes_in_s(5), "--model=~/model").exit_code == 0
    parts = ["--vqvae=~/model/vqvae", *[f"--prior=~/model/prior_{level}" for level in range(3)]]
    assert run("assemble", *parts, "--output=~/mine").exit_code == 0
    assert list(here.iterdir()) == []
    made = {path.name for path in home.iterdir()}
    assert made >= {"run", "songs", "mine"} and JukeboxRun.open(home / "run").is_finished


def test_the_home_of_an_unknown_user_is_reported_as_a_missing_file(tmp_path: Path) -> None:
    result = run("sample", "~nobody-of-this-name/x.wav", "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert result.stderr == "hf-jukebox: There is no file ~nobody-of-this-name/x.wav; check its name.\n"


def test_a_log_file_has_lines_for_every_level(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_PAUSE", 0.0)
    result = run("sample", "-o", tmp_path / "run", "--model", model, "--seconds", codes_in_s(8), "--levels", "2,1")
    lines = [line.split(":")[0] for line in result.stderr.splitlines()[1:]]
    assert lines[0] == "level 2" and lines[-1] == "level 1" and len(lines) > 4
    assert "\r" not in result.stderr and "\x1b" not in result.stderr


def test_low_memory_samples_the_same_bits(model: Path, tmp_path: Path) -> None:
    common = ["--model", model, *SHORT]
    assert run("sample", "-o", tmp_path / "a", *common).exit_code == 0
    assert run("sample", "-o", tmp_path / "b", "--low-memory", *common).exit_code == 0
    longer = ["--seconds", codes_in_s(5), "--low-memory"]
    assert [run("continue", tmp_path / name, *longer).exit_code for name in "ab"] == [0, 0]
    assert [run("upsample", tmp_path / name, "--low-memory").exit_code for name in "ab"] == [0, 0]
    assert run("resume", tmp_path / "a", "--low-memory").exit_code == 0
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.wav")} for name in "ab")
    assert one == other and len(one) >= 1


def test_a_revision_of_a_repository_is_loaded(model: Path, tmp_path: Path) -> None:
    with loopback_hub() as hub:
        hub.repositories["somebody/pipe"] = {
            path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()
        }
        words = ["sample", "-o", "run", "--model", "somebody/pipe", "--revision", COMMIT, *SHORT]
        done = process(*words, folder=tmp_path, **hub.environment(tmp_path / "home"))
        assert done.returncode == 0, done.stderr.decode()
        assert COMMIT in hub.revisions and "main" not in hub.revisions
    first, last = done.stderr.decode().splitlines()
    assert first == "Loading somebody/pipe ..." and last.startswith("level 2: ")


def test_a_revision_of_a_folder_is_refused(model: Path, tmp_path: Path) -> None:
    result = run("sample", "-o", tmp_path / "a", "--model", model, "--revision", "v1")
    assert result.exit_code == 2
    assert result.stderr == (
        f"hf-jukebox: {model} is not a Hub repository and has no revisions; leave --revision out.\n"
    )


@pytest.mark.parametrize(
    "command", [["resume"], ["continue", "--seconds", "9"], ["upsample"]], ids=lambda words: words[0]
)
def test_a_run_whose_model_has_moved_names_the_model_option(model: Path, tmp_path: Path, command: list[str]) -> None:
    moved = tmp_path / "model"
    shutil.copytree(model, moved)
    assert run("sample", "-o", tmp_path / "run", "--model", moved, *SHORT).exit_code == 0
    shutil.rmtree(moved)
    result = run(command[0], tmp_path / "run", *command[1:])
    *_, line = result.stderr.splitlines()
    assert result.exit_code == 2 and line.startswith("hf-jukebox: ") and "--model" in line
    assert result.stderr.count("hf-jukebox: ") == 1


def test_the_lengths_of_a_batch_are_printed(model: Path, tmp_path: Path) -> None:
    lengths = [codes_in_s(3), codes_in_s(800)]
    songs = [{"name": f"song-{number}", "seconds": length} for number, length in enumerate(lengths)]
    (tmp_path / "songs.jsonl").write_text("\n".join(map(json.dumps, songs)))
    result = run(
        "sample", "--requests", tmp_path / "songs.jsonl", "-o", tmp_path / "o", "--model", model, "--levels", 2
    )
    assert result.exit_code == 0, result.output
    assert f"2 x {lengths[0]:.2f} to {lengths[1]:.2f} s" in result.stdout.splitlines()[0]


def test_a_reader_of_progress_that_leaves_ends_the_command_quietly(model: Path, tmp_path: Path) -> None:
    words = ["sample", "-o", tmp_path / "run", "--model", model, "--progress", "json", "--seconds", codes_in_s(2000)]
    with Forked("hf_jukebox", *words, "--levels", 2) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["level"] == 2
        process.stdout.close()
        assert process.stderr.read().decode().splitlines() == [f"Loading {model} ..."]
        assert process.wait() == 141
    assert not JukeboxRun.open(tmp_path / "run").is_finished
