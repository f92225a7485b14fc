"""Checkpoints take a small share of the time, from the first one on."""

import pytest

from hf_jukebox.runs import checkpoint_timer
from hf_jukebox.runs.checkpoint_timer import CheckpointTimer


def test_a_large_checkpoint_is_first_due_when_its_cost_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint_timer.time, "monotonic", lambda: now[0])
    small, large = CheckpointTimer(10**6), CheckpointTimer(7 * 10**9)  # 16 segments of a published upsampler
    now[0] = 6.0
    assert small.is_due and not large.is_due
    now[0] = 20 * 7.0
    assert large.is_due
    with large.writing():
        now[0] += 3.0
    now[0] += 59.0
    assert not large.is_due
    now[0] += 1.0
    assert large.is_due
