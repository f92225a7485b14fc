import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.cards import front_matter
from helpers.loopback_hub import USER, LoopbackHub, loopback_hub
from helpers.tiny_training import loop_arguments, vqvae_trainer
from huggingface_hub import ModelCard
from peft import LoraConfig
from safetensors.torch import load_file

from hf_jukebox.training.lora import merged_weights

HERE = Path(__file__).parent
SENT = {f"{USER}/vqvae": "vqvae", "band/top": "prior", f"{USER}/adapted": "adapted"}


def run(script: str, *words: object, environment: dict[str, str]) -> None:
    command = [sys.executable, HERE / script, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> LoopbackHub:
    """Hub with three uploaded models, after loading each as its card describes."""
    folder = tmp_path_factory.mktemp("hub")
    with loopback_hub() as hub:
        hub.folder = folder
        run("run_and_push.py", folder, environment=hub.environment(folder / "home"))
        run("load_by_card.py", folder, *SENT, environment=hub.environment(folder / "another home"))
        yield hub


@pytest.mark.parametrize(("repository", "name"), SENT.items())
def test_only_the_model_and_its_card_are_uploaded(hub, repository, name):
    assert set(hub.repositories) == set(SENT)
    files = {"config.json", "model.safetensors", "README.md", "curves.png"}
    if name == "adapted":
        files |= {
            f"adapter/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", "jukebox_adapter.json")
        }
    assert set(hub.repositories[repository]) == files
    for path, content in hub.repositories[repository].items():
        assert (hub.folder / name / path).read_bytes() == content


@pytest.mark.parametrize(("repository", "name"), SENT.items())
def test_the_card_explains_how_to_load_the_model(hub, repository, name):
    there = ModelCard(hub.repositories[repository]["README.md"].decode())
    assert front_matter(there.content).get("base_model_relation") == ("adapter" if name == "adapted" else None)
    assert there.data.library_name == "hf_jukebox" and "jukebox" in there.data.tags
    assert there.data.base_model == ("band/top" if name == "adapted" else None)
    assert str(hub.folder) not in there.content
    loaded = load_file(hub.folder / f"{repository.replace('/', '-')}-model.safetensors")
    for key, weight in load_file(hub.folder / name / "model.safetensors").items():
        assert torch.equal(loaded[key], weight), key


def test_the_adapter_loads_onto_its_prior(hub):
    prior = load_file(hub.folder / f"{USER}-adapted-prior.safetensors")
    adapted = load_file(hub.folder / "adapted" / "model.safetensors")
    assert any(".lora_B." in key and weight.any() for key, weight in prior.items())
    merged = merged_weights(prior, LoraConfig.from_pretrained(str(hub.folder / "adapted" / "adapter")))
    for key, weight in adapted.items():
        torch.testing.assert_close(merged[key], weight)


def test_an_unreachable_hub_is_an_error_before_training_starts(tmp_path, monkeypatch):
    with loopback_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)  # the server stops when the block ends
    trainer = vqvae_trainer(loop_arguments(tmp_path / "vqvae", max_train_steps=1, push_to_hub=True))
    with pytest.raises(OSError, match="The Hub repository vqvae cannot be created"):
        trainer.train()
    assert trainer.step == 0 and not list(tmp_path.rglob("*.safetensors"))
