"""Blocks compiled for training, as `accelerate launch --dynamo_backend` asks: the same losses and checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior, vqvae_trainer
from safetensors.torch import load_file

from hf_jukebox.sampling import compiled
from hf_jukebox.training.lora import add_adapter

CASES: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "plain": ({}, lambda prior: None),
    "recomputed adapter": ({"gradient_checkpointing": True}, lambda prior: add_adapter(prior, 2)),
    "bfloat16": ({"mixed_precision": "bf16"}, lambda prior: None),
}


def train(output_dir: Path, case: str, **options: Any) -> dict[int, float]:
    """Train a prior, and return the loss of every step."""
    of_case, prepare = CASES[case]
    prior = tiny_prior("tiny_labelled_prior", init_scale=4.0, num_hidden_layers=3)
    prepare(prior)
    steps = {"max_train_steps": 4, "checkpointing_steps": 2, "learning_rate": 0.01, "lr_warmup_steps": 0}
    trainer = prior_trainer(loop_arguments(output_dir, **steps | of_case | options), prior)
    trainer.train()
    return trainer.losses


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace forward and backward passes as a compiler does, and run what was traced."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "aot_eager")
    torch._dynamo.reset()


def same(first: dict[int, float], second: dict[int, float], tolerance: float = 1e-5) -> None:
    assert first.keys() == second.keys()
    assert list(first.values()) == pytest.approx(list(second.values()), rel=tolerance)


@pytest.mark.parametrize("case", ["recomputed adapter", "bfloat16"])
def test_traced_blocks_have_the_losses_of_blocks_as_they_are(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "expected", case)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "aot_eager")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found = train(tmp_path / "found", case)
    same(found, expected, 1e-2 if case == "bfloat16" else 1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    for path in sorted((tmp_path / "expected").rglob("*.safetensors")):
        tensors = load_file(tmp_path / "found" / path.relative_to(tmp_path / "expected"))
        assert tensors.keys() == load_file(path).keys()


def test_a_run_is_resumed_with_and_without_compiled_blocks(
    traced: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", "plain")
    train(tmp_path / "run", "plain", max_train_steps=2)
    compiled_again = train(tmp_path / "run", "plain", resume_from_checkpoint="checkpoint-2")
    same(compiled_again, {step: whole[step] for step in (3, 4)}, 0)
    monkeypatch.delenv("ACCELERATE_DYNAMO_BACKEND")
    same(train(tmp_path / "run", "plain", resume_from_checkpoint="checkpoint-2"), compiled_again)


def test_a_vqvae_is_trained_uncompiled(traced: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = vqvae_trainer(loop_arguments(tmp_path / "run", max_train_steps=1))
    assert "has no blocks to compile" in caplog.text and not hasattr(trainer.model, "_orig_mod")


def test_a_missing_compiler_is_reported_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(OSError, match=r"Compiling the blocks needs a C\+\+ compiler .* or train without"):
        train(tmp_path / "run", "plain")


@pytest.mark.compiler
def test_compiled_blocks_have_the_losses_of_blocks_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(tmp_path / "expected", "plain")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
    torch._dynamo.reset()
    same(train(tmp_path / "found", "plain"), expected, 1e-4)
