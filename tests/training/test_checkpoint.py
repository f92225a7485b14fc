import logging
import math
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.forked import Forked
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior, vqvae_trainer

from hf_jukebox import JukeboxPrior, JukeboxVQVAE
from hf_jukebox.training.checkpoint import list_checkpoints

TRAINERS = {"vqvae": vqvae_trainer, "prior": prior_trainer}


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_resumed_run_equals_an_uninterrupted_one_exactly(tmp_path, kind):
    whole = TRAINERS[kind](loop_arguments(tmp_path / "whole", max_train_steps=7, gradient_accumulation_steps=2))
    whole.train()
    options = {"gradient_accumulation_steps": 2, "checkpointing_steps": 3}
    TRAINERS[kind](loop_arguments(tmp_path / "cut", max_train_steps=4, **options)).train()
    resumed = TRAINERS[kind](
        loop_arguments(tmp_path / "cut", max_train_steps=7, resume_from_checkpoint="latest", **options)
    )
    resumed.train()
    assert resumed.losses == {step: loss for step, loss in whole.losses.items() if step > 3}
    state = resumed.state.tensors()
    for name, tensor in whole.state.tensors().items():
        assert torch.equal(tensor, state[name]), name


def test_label_dropout_is_resumed_exactly(tmp_path):
    def trainer(folder, **options):
        prior = tiny_prior("tiny_labelled_prior")
        return prior_trainer(loop_arguments(tmp_path / folder, **options), prior, label_dropout=0.5)

    whole = trainer("whole", max_train_steps=6)
    whole.train()
    trainer("cut", max_train_steps=3, checkpointing_steps=3).train()
    resumed = trainer("cut", max_train_steps=6, resume_from_checkpoint="latest")
    resumed.train()
    assert resumed.losses == {step: loss for step, loss in whole.losses.items() if step > 3}


def test_validation_and_samples_do_not_change_what_is_learned(tmp_path):
    plain = vqvae_trainer(loop_arguments(tmp_path / "plain", max_train_steps=4))
    plain.train()
    watched = vqvae_trainer(loop_arguments(tmp_path / "watched", max_train_steps=4, validation_steps=1, sample_steps=2))
    watched.train()
    assert watched.losses == plain.losses
    assert {path.name for path in (tmp_path / "watched" / "samples" / "step-2").iterdir()} >= {
        "0-original.wav",
        "0-level-0.wav",
        "1-level-2.wav",
    }


def test_a_checkpoint_loads_as_a_model_with_averaged_weights(tmp_path):
    trainer = prior_trainer(loop_arguments(tmp_path, max_train_steps=2, checkpointing_steps=2))
    trainer.train()
    for folder in (tmp_path / "checkpoint-2", tmp_path):
        loaded = JukeboxPrior.from_pretrained(folder).state_dict()
        for name, average in trainer.ema.state_dict().items():
            assert torch.equal(loaded[name], average), name


def test_the_running_sums_of_codebooks_are_restored(tmp_path):
    vqvae_trainer(loop_arguments(tmp_path, max_train_steps=2)).train()
    for quantizer in JukeboxVQVAE.from_pretrained(tmp_path).quantizers:
        assert quantizer.initialized and quantizer.running_count.any() and quantizer.running_sum.any()


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    arguments = loop_arguments(tmp_path, max_train_steps=4, checkpointing_steps=1, checkpoints_total_limit=2)
    prior_trainer(arguments).train()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-3", "checkpoint-4"]


def test_the_decay_to_0_may_start_at_any_checkpoint(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=2, checkpointing_steps=2)).train()
    options = {"max_train_steps": 4, "lr_anneal_start": 2, "resume_from_checkpoint": "checkpoint-2"}
    trainer = prior_trainer(loop_arguments(tmp_path, lr_warmup_steps=0, **options))
    trainer.train()
    assert trainer.optimizer.param_groups[0]["lr"] == 0


def test_latest_is_of_the_branch_that_was_resumed(tmp_path, caplog):
    caplog.set_level(logging.INFO, "hf_jukebox")
    options = {"checkpointing_steps": 1, "sample_steps": 1, "checkpoints_total_limit": 2}
    vqvae_trainer(loop_arguments(tmp_path, **options | {"max_train_steps": 3, "checkpoints_total_limit": None})).train()
    resumed = loop_arguments(tmp_path, max_train_steps=2, resume_from_checkpoint="checkpoint-1", **options)
    vqvae_trainer(resumed).resume()  # and killed before its first checkpoint
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1"]
    assert [path.name for path in list_checkpoints(tmp_path / "abandoned-1")] == ["checkpoint-2", "checkpoint-3"]
    assert sorted(path.name for path in (tmp_path / "abandoned-1" / "samples").iterdir()) == ["step-2", "step-3"]
    assert "Moved what follows step 1 (checkpoint-2, checkpoint-3, samples/step-2, samples/step-3)" in caplog.text
    vqvae_trainer(resumed).train()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-2"]
    latest = vqvae_trainer(loop_arguments(tmp_path, max_train_steps=3, resume_from_checkpoint="latest"))
    latest.resume()
    assert latest.step == 2 and not (tmp_path / "abandoned-2").exists()


@pytest.mark.parametrize("poisoned", ["weights", "gradients"])
def test_weights_that_are_not_finite_are_neither_saved_nor_finished(tmp_path, poisoned):
    trainer = prior_trainer(loop_arguments(tmp_path, max_train_steps=4, checkpointing_steps=2, logging_steps=100))
    parameter = next(iter(trainer.bare_model.parameters()))

    def poison(batches, take_step=trainer.train_step):
        if trainer.step == 3:
            if poisoned == "weights":
                parameter.data.fill_(math.nan)
            else:
                parameter.register_hook(lambda gradient: gradient * math.inf)
        return take_step(batches)

    trainer.train_step = poison
    with pytest.raises(FloatingPointError, match=r"The (loss|gradient norm) of step 4 is (nan|inf); resume from an"):
        trainer.train()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-2"]
    assert not (tmp_path / "config.json").exists()


def test_a_run_without_checkpoints_is_not_finished_with_weights_that_are_not_finite(tmp_path):
    trainer = prior_trainer(loop_arguments(tmp_path, max_train_steps=2, logging_steps=100))
    next(iter(trainer.bare_model.parameters())).data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="The loss of step 2 is nan"):
        trainer.train()


def test_metrics_are_valid_json_whatever_the_numbers(tmp_path):
    trainer = prior_trainer(loop_arguments(tmp_path))
    trainer.tracker.log({"train/loss": 1.0, "train/gradient_norm": math.inf}, 1)
    trainer.tracker.log({"validation/loss": math.nan}, 1)
    lines = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert lines == ['{"step": 1, "train/loss": 1.0}', '{"step": 1}']


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=1, checkpointing_steps=1)).train()
    arguments = loop_arguments(tmp_path, max_train_steps=2, resume_from_checkpoint="latest")
    with pytest.raises(ValueError, match="checkpoint-1 is of another model: its hidden_size is 32, not 64"):
        prior_trainer(arguments, tiny_prior(hidden_size=64)).train()


def test_a_missing_checkpoint_is_named(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=1, checkpointing_steps=1)).train()
    arguments = loop_arguments(tmp_path, max_train_steps=2, resume_from_checkpoint="checkpoint-7")
    with pytest.raises(FileNotFoundError, match=r"checkpoint-7 is not a complete checkpoint; .*: checkpoint-1\."):
        prior_trainer(arguments).train()


def test_latest_without_a_checkpoint_starts_from_step_0(tmp_path):
    trainer = prior_trainer(loop_arguments(tmp_path, max_train_steps=1, resume_from_checkpoint="latest"))
    trainer.train()
    assert list(trainer.losses) == [1]


def test_a_damaged_checkpoint_is_reported(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=1, checkpointing_steps=1)).train()
    (shard,) = (tmp_path / "checkpoint-1" / "training_state").glob("shard-*.safetensors")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    arguments = loop_arguments(tmp_path, max_train_steps=2, resume_from_checkpoint="latest")
    with pytest.raises(OSError, match="checkpoint-1 is damaged"):
        prior_trainer(arguments).train()


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    trainer = prior_trainer(loop_arguments(tmp_path, max_train_steps=3))
    trainer.train()
    trainer.save()
    trainer.step += 1
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (20_000, hard)
    )  # no file may grow beyond this: a write fails as on a full disk
    try:
        with pytest.raises(OSError, match=r"checkpoint-4 could not be written \(.*\); checkpoint-3 is kept"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert [path.name for path in tmp_path.iterdir() if "checkpoint" in path.name] == ["checkpoint-3"]
    resumed = prior_trainer(loop_arguments(tmp_path, max_train_steps=3, resume_from_checkpoint="latest"))
    resumed.resume()
    assert resumed.step == 3


def test_a_killed_run_resumes_with_the_same_losses(tmp_path):
    script = Path(__file__).with_name("run_to_be_killed.py")

    def start(folder: str, *options: str) -> Forked:
        return Forked(script, tmp_path / folder, *options)

    whole, cut = start("whole"), start("cut", "--slow")
    losses = tmp_path / "cut" / "losses.txt"
    while not (losses.is_file() and len(losses.read_text().splitlines()) >= 5):  # checkpoints lie at 2 and 4
        assert cut.poll() is None
        time.sleep(0.05)
    cut.kill()
    assert cut.wait() == -signal.SIGKILL
    assert whole.wait() == 0
    assert start("cut").wait() == 0
    curves = {
        name: dict(line.split() for line in (tmp_path / name / "losses.txt").read_text().splitlines())
        for name in ("whole", "cut")
    }
    assert curves["cut"] == curves["whole"] and len(curves["whole"]) == 8
    first, second = (JukeboxVQVAE.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
