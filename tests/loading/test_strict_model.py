"""Weights that do not fit are an error that names them; all ways of loading of transformers still work."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.random_priors import random_prior, write_adapter
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, modeling_utils

from hf_jukebox import JukeboxPrior, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.adapters import load_adapter

Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_prior("folded").save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_tensors_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING, "transformers")  # commands that tests have run may have silenced it
    change(folder, lambda weights: [weights.pop("start_embedding"), weights.pop("transformer.blocks.1.norm1.bias")])
    with pytest.raises(
        ValueError, match=r"2 missing: start_embedding, transformer\.blocks\.1\.norm1\.bias\.$"
    ) as error:
        JukeboxPrior.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert not caplog.records  # no table beside the error


def test_a_missing_tied_tensor_is_named(folder: Path) -> None:
    change(folder, lambda weights: weights.pop("token_embedding.weight"))
    with pytest.raises(ValueError, match=r"missing: .*token_embedding\.weight"):
        JukeboxPrior.from_pretrained(folder)


def test_unknown_tensors_are_named(folder: Path) -> None:
    change(folder, lambda weights: weights.update({"extra.weight": torch.ones(2)}))
    with pytest.raises(ValueError, match=r"1 unknown: extra\.weight\.$"):
        JukeboxPrior.from_pretrained(folder)


def test_tensors_of_the_wrong_shape_are_named_with_both_shapes(folder: Path) -> None:
    change(folder, lambda weights: weights.update(start_embedding=torch.ones(5)))
    with pytest.raises(ValueError, match=r"1 of the wrong shape: start_embedding \(\[5\] instead of \[16\]\)\.$"):
        JukeboxPrior.from_pretrained(folder)


def test_all_faults_are_reported_at_once_and_long_lists_shortened(folder: Path) -> None:
    def edit(weights: Weights) -> None:
        for name in list(weights):
            if ".mlp." in name:
                del weights[name]
        weights["extra"] = torch.ones(1)

    change(folder, edit)
    with pytest.raises(ValueError, match=r"12 missing: .*fc1\.bias, .* and 4 more; 1 unknown: extra\.$") as error:
        JukeboxPrior.from_pretrained(folder)
    assert "\n" not in str(error.value)


def test_a_vqvae_without_its_codebooks_is_refused(tmp_path: Path) -> None:
    JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("tiny_vqvae")).save_pretrained(tmp_path)
    change(tmp_path, lambda weights: [weights.pop(f"quantizers.{level}.codebook") for level in range(3)])
    with pytest.raises(ValueError, match=r"3 missing: quantizers\.0\.codebook, .*quantizers\.2\.codebook\.$"):
        JukeboxVQVAE.from_pretrained(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(folder: Path, length: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(OSError, match=r"are damaged or cut short .* convert them again"):
        JukeboxPrior.from_pretrained(folder)


def test_a_folder_without_weights_or_with_a_shard_missing_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        JukeboxPrior.from_pretrained(folder)
    random_prior("folded").save_pretrained(folder, max_shard_size="8KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    JukeboxPrior.from_pretrained(folder)
    shards[0].unlink()
    with pytest.raises(OSError, match=shards[0].name):
        JukeboxPrior.from_pretrained(folder)


def test_mismatched_shapes_can_be_ignored_on_request(folder: Path) -> None:
    change(folder, lambda weights: weights.update(start_embedding=torch.ones(5)))
    prior = JukeboxPrior.from_pretrained(folder, ignore_mismatched_sizes=True)
    assert prior.start_embedding.shape == (16,)
    change(folder, lambda weights: weights.pop("position_embedding"))
    with pytest.raises(ValueError, match="1 missing: position_embedding"):
        JukeboxPrior.from_pretrained(folder, ignore_mismatched_sizes=True)


def assert_is_the_saved_one(prior: JukeboxPrior) -> None:
    for name, weight in random_prior("folded").state_dict().items():
        assert torch.equal(prior.state_dict()[name], weight), name


def test_the_loading_info_is_returned_on_request(folder: Path) -> None:
    prior, info = JukeboxPrior.from_pretrained(folder, output_loading_info=True)
    assert_is_the_saved_one(prior)
    assert not any(info.values())


def test_a_variant_in_a_subfolder_is_loaded(tmp_path: Path) -> None:
    random_prior("folded").save_pretrained(tmp_path / "part", variant="ema")
    assert_is_the_saved_one(JukeboxPrior.from_pretrained(tmp_path, subfolder="part", variant="ema"))


def test_a_device_map_a_config_and_a_state_dict_are_accepted(folder: Path) -> None:
    assert_is_the_saved_one(JukeboxPrior.from_pretrained(folder, device_map="cpu"))
    assert_is_the_saved_one(JukeboxPrior.from_pretrained(folder, device_map={"": "cpu"}, dtype=torch.float32))
    saved = random_prior("folded")
    assert_is_the_saved_one(JukeboxPrior.from_pretrained(folder, config=saved.config))
    assert_is_the_saved_one(JukeboxPrior.from_pretrained(None, config=saved.config, state_dict=saved.state_dict()))


def test_low_rank_adapters_are_loaded_with_their_model(folder: Path) -> None:
    prior = JukeboxPrior.from_pretrained(folder)
    write_adapter(prior, LoraConfig(target_modules=["qkv_proj"], init_lora_weights=False), folder / "adapter")
    loaded = JukeboxPrior.from_pretrained(folder)
    codes = torch.zeros(1, 24, dtype=torch.long)
    plain = loaded(codes).logits
    load_adapter(loaded, folder)
    assert torch.equal(loaded(codes).logits, prior.eval()(codes).logits)
    assert not torch.equal(loaded(codes).logits, plain)


def test_other_errors_of_transformers_keep_the_report_they_refer_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        modeling_utils.logger.warning("JukeboxPrior LOAD REPORT: a conversion failed")
        raise RuntimeError("For details look at the above report!")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(fail))
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING, "transformers")  # commands that tests have run may have silenced it
    with pytest.raises(RuntimeError, match="look at the above report"):
        JukeboxPrior.from_pretrained(folder)
    assert "a conversion failed" in caplog.text
