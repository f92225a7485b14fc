"""The latest checkpoint of a training run opens after a power cut at any moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.power_cut import rebuild, recorded, states
from helpers.tiny_training import loop_arguments, vqvae_trainer

from hf_jukebox.training.checkpoint import find_checkpoint

SAMPLE = 12  # states in the suite


def try_states(tmp_path: Path, sample: int | None) -> int:
    folder = tmp_path / "trained"
    folder.mkdir()
    options = {"max_train_steps": 3, "checkpointing_steps": 1, "checkpoints_total_limit": 1}
    trainer = vqvae_trainer(loop_arguments(folder, **options))
    with recorded(folder) as recorder:
        trainer.train()
    every = list(states(recorder.operations))
    chosen = every if sample is None else every[:: max(1, len(every) // sample)]
    last = 0
    for number, (done, fate, state) in enumerate(chosen):
        cut = tmp_path / f"cut_{number}"
        rebuild(state, cut)
        found = find_checkpoint(cut, "latest")
        assert found is not None or last == 0, (done, fate, sorted(state))
        if found is not None:
            step = trainer.state.load(found).step
            assert step >= last and found.name == f"checkpoint-{step}", (done, fate, step, last)
            last = step
        shutil.rmtree(cut)
    assert last == 3
    return len(chosen)


def test_some_states_after_a_power_cut(tmp_path: Path) -> None:
    assert try_states(tmp_path, SAMPLE) >= SAMPLE


@pytest.mark.slow
def test_every_state_after_a_power_cut(tmp_path: Path) -> None:
    tried = try_states(tmp_path, None)
    print(f"{tried} states of a training run opened")
    assert tried > 50
