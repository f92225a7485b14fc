"""Exit status and output of training scripts."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_jukebox.console.training_program import training_program
from hf_jukebox.training.arguments import LoopArguments, run
from hf_jukebox.training.data import DataArguments

own_logger = logging.getLogger("hf_jukebox.training.loop")

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def default_signals() -> Iterator[None]:
    """Undo what a shell that runs tests in the background, or nohup, passes on: to ignore some of them."""
    before = [signal.signal(number, signal.SIG_DFL) for number in ENDS]
    yield
    for number, handler in zip(ENDS, before, strict=True):
        signal.signal(number, handler)


def script(monkeypatch: pytest.MonkeyPatch, train: Callable[..., object], *words: str) -> None:
    monkeypatch.setattr("sys.argv", ["train_it.py", *words])
    run(train, [DataArguments, LoopArguments], "Trains.\n\n    A command.")


def fails(error: BaseException) -> Callable[..., object]:
    def train(*groups: object) -> None:
        raise error

    return train


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (fails(ValueError("wrong")), "wrong"),
        (fails(OSError("no disk")), "no disk"),
        (fails(FloatingPointError("the loss is nan")), "the loss is nan"),
        (lambda *groups: torch.empty(2**60), "Memory has run out"),
        (lambda *groups: np.zeros(2**57), "Memory has run out"),
    ],
)
def test_errors_of_users_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], train: Callable[..., object], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script(monkeypatch, train)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith(f"train_it.py: {message}")


@pytest.mark.parametrize("number", ENDS)
def test_an_interrupt_prints_how_to_continue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script(monkeypatch, lambda *groups: signal.raise_signal(number))
    assert stopped.value.code == 130
    assert capsys.readouterr().err == (
        "train_it.py: stopped; to continue, run the same command with --resume_from_checkpoint latest.\n"
    )


def test_what_libraries_warn_of_while_they_are_imported_is_left_out(recwarn: pytest.WarningsRecorder) -> None:
    with training_program("train_it.py"):
        warnings.warn_explicit("invalid escape sequence", SyntaxWarning, "library.py", 1)
    assert not recwarn.list


def test_only_own_loggers_print_info(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def train(*groups: object) -> None:
        own_logger.info("3 songs")
        for name in ("httpx", "httpx2", "datasets", "accelerate", "torch"):
            logging.getLogger(name).info("HTTP Request: GET")
            logging.getLogger(name).warning("advice")

    script(monkeypatch, train)
    assert capsys.readouterr().err == "3 songs\n"


def test_a_usage_error_is_one_line_and_a_pointer_to_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script(monkeypatch, fails(AssertionError()), "--learning_rate", "fast")
    line, hint = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and hint == "Help: train_it.py --help"
    assert line.startswith("train_it.py: ") and "invalid float value: 'fast'" in line


def test_home_folders_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("train_data_dir: ~/songs\nresume_from_checkpoint: ~/old/checkpoint-2")
    groups: list[object] = []
    script(monkeypatch, lambda *parsed: groups.extend(parsed), "--config=~/run.yaml", "--output_dir=~/run")
    data, loop = groups
    assert isinstance(data, DataArguments) and isinstance(loop, LoopArguments)
    assert data.train_data_dir == str(tmp_path / "songs")
    assert loop.output_dir == str(tmp_path / "run")
    assert loop.resume_from_checkpoint == str(tmp_path / "old" / "checkpoint-2")
