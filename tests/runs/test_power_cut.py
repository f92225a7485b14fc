"""After a power cut at any moment a run resumes to the same codes, or does not exist yet."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest
import torch
from helpers.power_cut import rebuild, recorded, states
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.runs import checkpoint_timer

SAMPLE = 12  # states in the suite


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(autouse=True)
def clock_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advance the clock by one with every code, so that checkpoints are due after a number of codes."""
    ticks = count()
    monkeypatch.setattr(checkpoint_timer.time, "monotonic", lambda: next(ticks))
    monkeypatch.setattr(checkpoint_timer, "INTERVAL_IN_S", 9)
    monkeypatch.setattr(checkpoint_timer, "INTERVAL_PER_WRITE", 0)


def try_states(pipe: JukeboxPipeline, tmp_path: Path, sample: int | None) -> int:
    folder = tmp_path / "run"
    folder.mkdir()
    with recorded(folder) as recorder:
        whole = pipe(
            artist=["night bus", "the lanterns"],
            audio_length_in_s=codes_in_s(8),
            levels=(2, 1),
            generator=torch.Generator().manual_seed(3),
            output_dir=folder,
        )
    every = list(states(recorder.operations))
    chosen = every if sample is None else every[:: max(1, len(every) // sample)]
    exists, num_missing = False, 0
    for number, (done, fate, state) in enumerate(chosen):
        cut = tmp_path / f"cut_{number}"
        rebuild(state, cut)
        if not (cut / "request.json").exists():
            assert not exists, (done, fate, sorted(state))
            with pytest.raises(FileNotFoundError, match="holds no run"):
                pipe.resume_run(cut)
            num_missing += 1
            continue
        out = pipe.resume_run(cut)
        exists = True
        assert all(torch.equal(a, b) for a, b in zip(out.codes, whole.codes, strict=True)), (done, fate)
        shutil.rmtree(cut)
    assert exists and num_missing
    return len(chosen)


def test_some_states_after_a_power_cut(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    assert try_states(pipe, tmp_path, SAMPLE) >= SAMPLE


@pytest.mark.slow
def test_every_state_after_a_power_cut(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    tried = try_states(pipe, tmp_path, None)
    print(f"{tried} states of a run opened")
    assert tried > 50
