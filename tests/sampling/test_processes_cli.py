"""The command line on two processes of a launcher samples the same as on one, and only one of them prints."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.forked import run_on
from helpers.tiny import codes_in_s, tiny_pipeline
from typer.testing import CliRunner

from hf_jukebox import JukeboxRun
from hf_jukebox.cli import app

ROOT = Path(__file__).parents[2]
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline("tiny_labelled_prior").save_pretrained(folder)
    return folder


def start(processes: int, *arguments: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *LAUNCHER, str(processes), "-m", "hf_jukebox.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def succeed(processes: int, *arguments: object) -> str:
    if processes == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # their number may decide last bits
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        torch.set_num_threads(threads)
        assert result.exit_code == 0, result.output
        return result.stdout
    done = run_on(processes, "hf_jukebox.cli", *arguments)
    assert all(each.returncode == 0 for each in done), [each.stderr for each in done]
    return "".join(each.stdout for each in done)


def contents(folder: Path) -> tuple[list[list[list[int]]], dict[str, bytes]]:
    audio = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")}
    return [codes.tolist() for codes in JukeboxRun.open(folder).codes], audio


def songs(output: Path, model: Path, upsampling: str, count: int) -> list[object]:
    length = ["--seconds", codes_in_s(24), "--num-samples", count, "--upsampling", upsampling]
    return ["sample", "-o", output, "--model", model, "--seed", 1, *length]


@pytest.mark.parametrize(("upsampling", "count"), [("sequential", 3), ("parallel", 1)])
def test_the_command_line_on_two_processes(model: Path, tmp_path: Path, upsampling: str, count: int) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    succeed(1, *songs(alone, model, upsampling, count), "--quiet")
    lines = succeed(2, *songs(together, model, upsampling, count), "--progress", "json").splitlines()
    assert contents(alone) == contents(together)
    *progress, last = [json.loads(line) for line in lines]
    assert last["finished"] and sum("run" in line for line in progress) == 0
    assert progress[-1]["run_seconds_left"] == 0
    assert not list((together / "state").glob("*"))


def test_errors_are_printed_once(model: Path, tmp_path: Path) -> None:
    succeed(1, *songs(tmp_path, model, "sequential", 1), "--levels", 2, "--quiet")
    process = start(2, *songs(tmp_path, model, "sequential", 1))
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and errors.count("hf-jukebox: ") == 1 and "hf-jukebox continue" in errors


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_of_two_processes_is_resumed_by_one_or_two(model: Path, tmp_path: Path, processes: int) -> None:
    """Check a run that was stopped with each process in segments of its own, resumed by one process or by two."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    arguments = ["--seconds", codes_in_s(1000), "--levels", "2,1", "--max-batch-size", 2, "--progress", "json"]
    process = start(2, *songs(stopped, model, "parallel", 1), *arguments)
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["level"] == 2:
        pass
    process.send_signal(signal.SIGTERM)  # the launcher passes it on
    process.communicate(timeout=300)
    assert not JukeboxRun.open(stopped).is_finished
    assert len(list((stopped / "state").glob("level_1_*"))) >= 2  # each has kept its segments
    succeed(1, *songs(whole, model, "parallel", 1), *arguments)
    succeed(processes, "resume", stopped, "--progress", "json")
    assert contents(whole) == contents(stopped)
