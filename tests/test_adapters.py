"""Loading, adding, scaling, merging and unloading adapters, completely or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.loopback_hub import USER, loopback_hub
from helpers.random_priors import write_adapter
from helpers.tiny_training import tiny_prior
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from hf_jukebox import JukeboxPrior
from hf_jukebox.adapters import adapters_of, load_adapter, merge_adapters, set_adapters, unload_adapter
from hf_jukebox.training.lora import add_adapter, merged_weights, save_adapter

Weights = dict[str, torch.Tensor]
CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prior `base` and the adapters `a` and `b` that training saved, with different ranks and strengths."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny_prior("tiny_labelled_prior", init_scale=4.0).save_pretrained(folder / "base")
    for number, (name, rank, alpha) in enumerate([("a", 2, 3), ("b", 3, 6)]):
        prior = JukeboxPrior.from_pretrained(folder / "base")
        config = add_adapter(prior, rank, alpha)
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in prior.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) / 5)
        weights = prior.state_dict()
        save_adapter(prior, weights, folder / name / "adapter")
        prior_of(folder).save_pretrained(folder / name, state_dict=merged_weights(weights, config))
    return folder


def prior_of(folder: Path, name: str = "base") -> JukeboxPrior:
    return JukeboxPrior.from_pretrained(folder / name).eval()


@torch.no_grad()
def logits(prior: JukeboxPrior) -> torch.Tensor:
    config = prior.config
    codes = torch.randint(config.codebook_size, (2, config.n_ctx), generator=torch.Generator().manual_seed(0))
    row = [20 * config.sampling_rate, 0, config.window_length]
    return prior(codes, labels=torch.tensor([[*row, 1, 2], [*row, 2, 1]])).logits


def summed(folder: Path, **scales: float) -> JukeboxPrior:
    """Return the base plus the differences from training, each times its scale."""
    prior, own = prior_of(folder), prior_of(folder).state_dict()
    changed = {key: weight.clone() for key, weight in own.items()}
    for name, scale in scales.items():
        for key, weight in prior_of(folder, name).state_dict().items():
            changed[key] += scale * (weight - own[key])
    prior.load_state_dict(changed)
    return prior


def test_one_adapter_equals_the_merged_prior_of_its_training(folder: Path) -> None:
    prior = prior_of(folder)
    before = logits(prior)
    load_adapter(prior, folder / "a")
    torch.testing.assert_close(logits(prior), logits(prior_of(folder, "a")), **CLOSE)
    assert (logits(prior) - before).abs().max() > 0.1
    assert adapters_of(prior) == {"default": 1.0}


def test_several_adapters_add_up_each_with_its_scale(folder: Path) -> None:
    prior = prior_of(folder)
    load_adapter(prior, folder / "a", "a")
    load_adapter(prior, folder / "b", "b", scale=0.5)
    torch.testing.assert_close(logits(prior), logits(summed(folder, a=1, b=0.5)), **CLOSE)
    set_adapters(prior, {"a": -0.3})
    assert adapters_of(prior) == {"a": -0.3, "b": 0.0}
    torch.testing.assert_close(logits(prior), logits(summed(folder, a=-0.3)), **CLOSE)
    set_adapters(prior, ["b"])
    torch.testing.assert_close(logits(prior), logits(prior_of(folder, "b")), **CLOSE)
    unload_adapter(prior, "b")
    torch.testing.assert_close(logits(prior), logits(prior_of(folder)), **CLOSE)  # `a` is still off
    set_adapters(prior, "a")
    torch.testing.assert_close(logits(prior), logits(prior_of(folder, "a")), **CLOSE)


def test_unloading_restores_the_prior_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    prior = prior_of(folder)
    before, trainable = logits(prior), [parameter.requires_grad for parameter in prior.parameters()]
    load_adapter(prior, folder / "a", "a")
    load_adapter(prior, folder / "b", "b")
    set_adapters(prior, {"a": 0.0, "b": 0.0})
    assert torch.equal(logits(prior), before)
    set_adapters(prior, ["a", "b"])
    unload_adapter(prior)
    assert torch.equal(logits(prior), before)
    assert [parameter.requires_grad for parameter in prior.parameters()] == trainable
    prior.save_pretrained(tmp_path)
    assert torch.equal(logits(prior_of(tmp_path, ".")), before)
    load_adapter(prior, folder / "a")  # and again
    torch.testing.assert_close(logits(prior), logits(prior_of(folder, "a")), **CLOSE)


def test_a_merged_prior_is_a_plain_one(folder: Path, tmp_path: Path) -> None:
    prior = prior_of(folder)
    load_adapter(prior, folder / "a", "a", scale=0.7)
    load_adapter(prior, folder / "b", "b", scale=0.0)
    with pytest.raises(ValueError, match="cannot be saved; merge them into its weights"):
        prior.save_pretrained(tmp_path / "saved")
    merge_adapters(prior)
    assert prior.state_dict().keys() == prior_of(folder).state_dict().keys() and not adapters_of(prior)
    prior.save_pretrained(tmp_path / "saved")
    torch.testing.assert_close(logits(prior_of(tmp_path, "saved")), logits(summed(folder, a=0.7)), **CLOSE)


def test_a_prior_in_half_precision_takes_adapters(folder: Path) -> None:
    prior = JukeboxPrior.from_pretrained(folder / "base", dtype=torch.bfloat16).eval()
    before = logits(prior)
    load_adapter(prior, folder / "a")
    torch.testing.assert_close(logits(prior).float(), logits(prior_of(folder, "a")), atol=0.3, rtol=0.1)
    unload_adapter(prior)
    assert torch.equal(logits(prior), before)


def test_adapters_are_loaded_from_the_hub(folder: Path, tmp_path: Path) -> None:
    with loopback_hub() as hub:
        hub.repositories[f"{USER}/a"] = files_of(folder / "a")
        place = {"endpoint": hub.url, "cache_dir": tmp_path}
        prior = prior_of(folder)
        load_adapter(prior, f"{USER}/a", **place)
        torch.testing.assert_close(logits(prior), logits(prior_of(folder, "a")), **CLOSE)
        with pytest.raises(OSError, match=f"There is no adapter in {USER}/a/b: adapter_config"):
            load_adapter(prior, f"{USER}/a", "b", subfolder="b", **place)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edited(folder: Path, tmp_path: Path, edit: Callable[[Weights], object]) -> Path:
    shutil.copytree(folder / "a" / "adapter", tmp_path / "edited")
    weights = load_file(tmp_path / "edited" / "adapter_model.safetensors")
    edit(weights)
    save_file(weights, tmp_path / "edited" / "adapter_model.safetensors")
    return tmp_path / "edited"


FC1 = "base_model.model.transformer.blocks.0.mlp.fc1"
FAULTS: dict[str, Callable[[Weights], object]] = {
    "this one has no linear layer transformer.blocks.9.x": lambda weights: weights.update(
        {f"base_model.model.transformer.blocks.9.x.lora_{part}.weight": torch.ones(2, 2) for part in "AB"}
    ),
    "is for weights": lambda weights: weights.update({f"{FC1}.lora_A.weight": torch.ones(2, 5)}),
    "do not belong together": lambda weights: weights.pop(f"{FC1}.lora_B.weight"),
    "it holds transformer.blocks.0.mlp.fc1.lora_magnitude_vector": lambda weights: weights.update(
        {f"{FC1}.lora_magnitude_vector": torch.ones(5)}
    ),
    "instead of": lambda weights: weights.update(
        {key: torch.ones(7, 7) for key in weights if "label_embedding" in key}
    ),
    "that are not finite": lambda weights: weights[f"{FC1}.lora_B.weight"].fill_(torch.nan),
    "holds no low-rank matrices": lambda weights: weights.clear(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_of_another_prior_changes_nothing(folder: Path, tmp_path: Path, fault: str) -> None:
    prior = prior_of(folder)
    source = edited(folder, tmp_path, FAULTS[fault])
    for _ in range(2):  # on the bare prior, and beside an adapter
        before = {key: weight.clone() for key, weight in prior.state_dict().items()}
        with pytest.raises(ValueError, match=fault):
            load_adapter(prior, source, "wrong")
        after = prior.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
        assert "wrong" not in adapters_of(prior)
        if not adapters_of(prior):
            load_adapter(prior, folder / "b", "b")


def test_impossible_requests_are_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    prior = prior_of(folder)
    for function in (merge_adapters, unload_adapter, lambda prior: set_adapters(prior, "a")):
        with pytest.raises(ValueError, match="There is no adapter on this prior"):
            function(prior)
    with pytest.raises(OSError, match=r"There is no adapter in .*base, .*base/adapter: adapter_config"):
        load_adapter(prior, folder / "base")
    load_adapter(prior, folder / "a", "a")
    with pytest.raises(ValueError, match="There is an adapter 'a' already"):
        load_adapter(prior, folder / "b", "a")
    for function in (unload_adapter, set_adapters):
        with pytest.raises(ValueError, match="There is no adapter 'b' on this prior; there are: a"):
            function(prior, "b")
    source = edited(folder, tmp_path, lambda weights: None)
    weights = (source / "adapter_model.safetensors").read_bytes()
    (source / "adapter_model.safetensors").write_bytes(weights[:100])
    with pytest.raises(OSError, match="is damaged"):
        load_adapter(prior, source, "cut")
    (source / "adapter_model.safetensors").write_bytes(weights)
    (source / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(ValueError, match="does not describe a LoRA"):
        load_adapter(prior, source, "ia3")
    trained = prior_of(folder)
    add_adapter(trained, 2)
    with pytest.raises(ValueError, match="has adapters already, from training"):
        load_adapter(trained, folder / "a")


def test_layers_may_have_their_own_ranks_and_strengths(folder: Path, tmp_path: Path) -> None:
    config = LoraConfig(
        target_modules=["qkv_proj", "fc1"],
        r=2,
        rank_pattern={"fc1": 5},
        alpha_pattern={"blocks.0.mlp.fc1": 7},
        use_rslora=True,
        init_lora_weights=False,
    )
    of_peft = prior_of(folder)
    write_adapter(of_peft, config, tmp_path)
    prior = prior_of(folder)
    load_adapter(prior, tmp_path)
    assert torch.equal(logits(prior), logits(of_peft))
