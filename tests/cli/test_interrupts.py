"""Ctrl-C, SIGTERM and a closed terminal in real processes: nothing is lost, and a line says how to continue."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.forked import Forked
from helpers.tiny import codes_in_s, tiny_pipeline
from typer.testing import CliRunner

from hf_jukebox.cli import app
from hf_jukebox.runs.folder import JukeboxRun

SONG = ["--seconds", codes_in_s(60), "--seed", 4, "--levels", "2,1"]
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(scope="module")
def undisturbed() -> list[torch.Tensor]:
    pipe = tiny_pipeline("tiny_labelled_prior")
    generator = torch.Generator().manual_seed(4)
    return pipe(audio_length_in_s=codes_in_s(60), levels=(2, 1), generator=generator, output_type="latent").codes


def default_signals() -> None:
    """Undo what a shell that runs tests in the background passes on: to ignore Ctrl-C."""
    for number in ENDS:
        signal.signal(number, signal.SIG_DFL)


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hf_jukebox", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        preexec_fn=default_signals,
    )


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT] * 3, [signal.SIGTERM], [signal.SIGHUP, signal.SIGINT]],
    ids=["Ctrl-C three times", "SIGTERM", "a closed terminal"],
)
def test_an_interrupted_run_is_resumed_with_the_same_bits(
    model: Path, tmp_path: Path, undisturbed: list[torch.Tensor], signals: list[signal.Signals]
) -> None:
    folder = tmp_path / "a run"
    sample = ["sample", "--output", folder, "--model", model, "--progress", "json", *SONG]
    with Forked("hf_jukebox", *sample) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)  # two that are pending at a time are one
        _, errors = process.communicate()
    first, *rest = errors.splitlines()
    assert first == f"Loading {model} ..."
    assert rest[-1] == f"hf-jukebox: stopped, nothing was lost; continue with: hf-jukebox resume '{folder}'"
    assert set(rest[:-1]) <= {"hf-jukebox: already stopping; saving what is finished."}
    assert process.returncode == 130
    assert not JukeboxRun.open(folder).is_finished
    resumed = CliRunner().invoke(app, ["resume", str(folder), "--quiet"])
    assert resumed.exit_code == 0, resumed.output
    assert all(torch.equal(a, b) for a, b in zip(JukeboxRun.open(folder).codes, undisturbed, strict=True))


@pytest.mark.compiler
def test_a_compiled_run_is_resumed_compiled_with_the_same_bits(model: Path, tmp_path: Path) -> None:
    """In bfloat16, whose codes are others where the step is not compiled."""
    sample = ["sample", "--model", model, "--compile", "--dtype", "bfloat16", "--progress", "json", *SONG]
    with start(*sample, "--output", tmp_path / "run") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert not JukeboxRun.open(tmp_path / "run").is_finished
    assert CliRunner().invoke(app, ["resume", str(tmp_path / "run"), "--quiet"]).exit_code == 0
    assert CliRunner().invoke(app, [*map(str, sample), "--quiet", "--output", str(tmp_path / "whole")]).exit_code == 0
    runs = [JukeboxRun.open(tmp_path / name) for name in ("run", "whole")]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].codes, runs[1].codes, strict=True))


@pytest.mark.parametrize("number", ENDS)
def test_a_command_that_is_interrupted_while_it_imports_ends_with_a_line(tmp_path: Path, number: int) -> None:
    with start("sample", "--output", tmp_path / "run", *SONG) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Loading the demo model ...\n"
        process.send_signal(number)
        assert process.communicate()[1] == "hf-jukebox: stopped.\n"
    assert process.returncode == 130 and not list(tmp_path.iterdir())


def test_a_second_signal_while_the_state_is_saved_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from hf_jukebox.console.errors import errors_as_one_line\n"
        "from hf_jukebox.console.signals import handle_signals, work_to_keep\n"
        "handle_signals('program')\n"
        "with errors_as_one_line('program'), work_to_keep():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('not reached')\n"
        "    finally:\n"
        "        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):\n"
        "            try:\n"
        "                os.kill(os.getpid(), number)\n"
        "            except OSError:\n"
        "                pass\n"
        "        print('saved', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=default_signals)
    already = "program: already stopping; saving what is finished.\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "saved\n", 3 * already + "program: stopped.\n")


def test_signals_that_a_command_was_started_to_ignore_stay_ignored() -> None:
    code = (
        "import os, signal\n"
        "from hf_jukebox.console.signals import handle_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "handle_signals('program')\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")
