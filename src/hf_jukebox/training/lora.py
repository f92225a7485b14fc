"""Fine-tuning of a prior by low-rank adapters (Hu et al. 2021) with peft; `hf_jukebox.adapters` loads them."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from peft import LoraConfig
from peft.functional import get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from ..adapters import LABEL_TABLES
from ..loading.adapter_files import PEFT_PREFIX, WEIGHTS_FILE
from ..modeling_prior import JukeboxPrior

_LINEAR = r"transformer\.blocks\.\d+\.(attn\.(qkv_proj|q_proj|kv_proj|out_proj)|mlp\.(fc1|fc2))"
_ADAPTER = "default"  # peft's name for the only adapter

Weights = dict[str, torch.Tensor]


def add_adapter(prior: JukeboxPrior, rank: int, alpha: int | None = None) -> LoraConfig:
    """Freeze a prior and add adapters to the linear layers of its blocks.

    The label tables are trained whole, as new artists and genres need rows of their own.

    Args:
        rank: Rank of the adapters.
        alpha: Numerator of the scale `alpha / rank` of their output; by default `2 * rank`.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=_LINEAR,
        modules_to_save=[LABEL_TABLES] if prior.config.has_labels else None,
        base_model_name_or_path=prior.name_or_path or None,
    )
    for parameter in prior.parameters():
        parameter.requires_grad_(False)
    inject_adapter_in_model(config, prior)
    prior.adapter_config = config  # type: ignore[assignment]  # for `adapter_config`
    return config


def adapter_config(prior: torch.nn.Module) -> LoraConfig | None:
    """Return the settings of a prior's adapter; None without one."""
    return getattr(prior, "adapter_config", None)


def save_adapter(prior: JukeboxPrior, weights: Weights, folder: str | os.PathLike[str]) -> None:
    """Write the adapter alone, in the format of peft, for `load_adapter(prior, folder)`.

    Raises:
        OSError: the folder cannot be written.
    """
    config = adapter_config(prior)
    assert config is not None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    adapter = get_peft_model_state_dict(prior, state_dict=weights, adapter_name=_ADAPTER)
    named = {PEFT_PREFIX + name: weight.contiguous() for name, weight in adapter.items()}
    save_file(named, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def merged_weights(weights: Weights, config: LoraConfig) -> Weights:
    """Merge an adapter into the weights of its prior, and return the state dict of a plain prior.

    Args:
        weights: State dict of the prior with its adapter.
        config: Settings of the adapter.
    """
    merged: Weights = {}
    scale = config.lora_alpha / config.r
    trained_whole = f".modules_to_save.{_ADAPTER}."
    for name, weight in weights.items():
        if name.endswith(".base_layer.weight"):
            layer = name.removesuffix(".base_layer.weight")
            down, up = (weights[f"{layer}.lora_{part}.{_ADAPTER}.weight"] for part in "AB")
            merged[f"{layer}.weight"] = weight + scale * (up @ down)
        elif trained_whole in name:
            merged[name.replace(trained_whole, ".")] = weight
        elif ".lora_" not in name and ".original_module." not in name:
            merged[name.replace(".base_layer.", ".")] = weight
    return merged
