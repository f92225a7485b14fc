"""Fixtures of the tests that write run folders."""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
import torch
from helpers.tiny import tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.runs import checkpoint_timer


@pytest.fixture(scope="module")
def pipe() -> Iterator[JukeboxPipeline]:
    """Pipeline for processes that are forked."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process has no other threads, and their number may decide last bits
    yield tiny_pipeline("tiny_labelled_prior")
    torch.set_num_threads(threads)


@pytest.fixture
def count_time_in_codes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that advances the clock by one with every code, so that checkpoints are due after some."""

    def start(codes_between_checkpoints: int) -> None:
        ticks = count()
        monkeypatch.setattr(checkpoint_timer.time, "monotonic", lambda: next(ticks))
        monkeypatch.setattr(checkpoint_timer, "INTERVAL_IN_S", codes_between_checkpoints)
        monkeypatch.setattr(checkpoint_timer, "INTERVAL_PER_WRITE", 0)

    return start


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out fsync, which only matters when the machine itself goes down."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
