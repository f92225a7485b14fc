"""Checkpoints on the Hub: uploaded while training goes on, and resumed from on another machine."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.loopback_hub import USER, LoopbackHub, hub_of_this_process
from helpers.refusals import refusal
from helpers.tiny_training import loop_arguments, prior_trainer

from hf_jukebox.sharing.cards import Card
from hf_jukebox.training import hub as training_hub
from hf_jukebox.training.hub import CheckpointPusher, fetch_checkpoint


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    with hub_of_this_process(tmp_path_factory.mktemp("cache")) as hub:
        yield hub


def test_a_run_is_resumed_on_another_machine_from_its_pushed_checkpoint(hub: LoopbackHub, tmp_path: Path) -> None:
    whole = prior_trainer(loop_arguments(tmp_path / "whole", max_train_steps=4))
    whole.train()
    pushed = {"push_to_hub": True, "hub_strategy": "every_save", "hub_model_id": "run", "checkpointing_steps": 1}
    prior_trainer(loop_arguments(tmp_path / "here", max_train_steps=2, **pushed)).train()
    files = hub.repositories[f"{USER}/run"]
    assert {"checkpoint-2/training_state/progress.json", "model.safetensors", "curves.png"} <= set(files)
    assert not any(name.startswith("checkpoint-1/") for name in files)
    assert {Path(name).suffix for name in files} == {".safetensors", ".json", ".md", ".png"}

    arguments = loop_arguments(tmp_path / "there", max_train_steps=4, resume_from_checkpoint=f"{USER}/run")
    fetch_checkpoint(arguments)
    assert arguments.resume_from_checkpoint == "checkpoint-2"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["checkpoint-2"]
    resumed = prior_trainer(arguments)
    resumed.train()
    assert resumed.losses == {step: loss for step, loss in whole.losses.items() if step > 2}
    entries = {"train/loss"} & resumed.tracker.history()[0].keys()
    assert entries and [each["step"] for each in resumed.tracker.history() if "train/loss" in each] == [3, 4]


def test_uploads_wait_for_each_other_and_their_failure_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on, uploaded = threading.Event(), threading.Event(), []

    def upload(folder: Path, repository: str, card: Card) -> str:
        begun.set()
        go_on.wait(60)
        uploaded.append(folder.name)
        if folder.name == "checkpoint-1":
            raise OSError("the network is down")
        return ""

    monkeypatch.setattr(training_hub, "push_checkpoint", upload)
    pusher = CheckpointPusher("me/run", Card("", "", ""))
    pusher.push(tmp_path / "checkpoint-1")
    assert begun.wait(60)
    pusher.push(tmp_path / "checkpoint-2")
    pusher.push(tmp_path / "checkpoint-3")  # training does not wait
    assert pusher.in_use == {tmp_path / "checkpoint-1", tmp_path / "checkpoint-3"}
    go_on.set()
    pusher.finish()
    assert uploaded == ["checkpoint-1", "checkpoint-3"] and not pusher.in_use
    assert "the network is down" in caplog.text


def test_a_repository_without_checkpoints_is_refused_in_a_sentence(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories[f"{USER}/model"] = {"config.json": b"{}"}
    for name, message in ((f"{USER}/model", "holds no checkpoint"), ("who/knows", "could not be downloaded")):
        arguments = loop_arguments(tmp_path / "out", resume_from_checkpoint=name)
        assert message in refusal(lambda arguments=arguments: fetch_checkpoint(arguments), OSError)  # type: ignore[misc]
    with pytest.raises(ValueError, match="only with --push_to_hub"):
        loop_arguments(tmp_path, hub_strategy="every_save")
