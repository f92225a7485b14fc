"""Fine-tuning of a prior by low-rank adapters (Hu et al. 2021) with peft; `hf_jukebox.adapters` loads them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig
from peft.functional import get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file

from ..files.text import read_json_object
from ..loading.adapter_files import (
    CONFIG_FILE,
    LABEL_TABLES,
    PEFT_PREFIX,
    WEIGHTS_FILE,
    Names,
    new_names,
    write_details,
)
from ..modeling_prior import JukeboxPrior

_PARENTS = {"qkv_proj": "attn", "q_proj": "attn", "kv_proj": "attn", "out_proj": "attn", "fc1": "mlp", "fc2": "mlp"}
TARGET_MODULES = tuple(_PARENTS)
"""Names of the linear layers in the blocks of a prior."""
_ADAPTER = "default"  # peft's name for the only adapter

Weights = dict[str, torch.Tensor]


def add_adapter(
    prior: JukeboxPrior,
    rank: int,
    alpha: float | None = None,
    *,
    dropout: float = 0.0,
    target_modules: Sequence[str] = TARGET_MODULES,
    own_names: Names | None = None,
) -> LoraConfig:
    """Freeze a prior and add adapters to the linear layers of its blocks.

    The label tables are trained whole, as new artists and genres need rows of their own.

    Args:
        rank: Rank of the adapters.
        alpha: Numerator of the scale `alpha / rank` of their output; by default `2 * rank`.
        dropout: Probability of dropping an input of the adapters in training.
        target_modules: Names of the layers, of those in `TARGET_MODULES`.
        own_names: Names of the prior before it was given those of the data; the adapter brings the others along.

    Raises:
        ValueError: the prior has none of the layers.
    """
    names = "|".join(f"{_PARENTS[name]}\\.{name}" for name in target_modules)
    pattern = rf"transformer\.blocks\.\d+\.({names})"
    if not any(re.fullmatch(pattern, name) for name, _ in prior.named_modules()):
        raise ValueError(
            f"The prior has no layers {', '.join(target_modules)}; adapt others, such as qkv_proj and fc1."
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]  # peft takes fractions too
        lora_dropout=dropout,
        target_modules=pattern,
        modules_to_save=[LABEL_TABLES] if prior.config.has_labels else None,
        base_model_name_or_path=prior.name_or_path or None,
    )
    for parameter in prior.parameters():
        parameter.requires_grad_(False)
    inject_adapter_in_model(config, prior)
    prior.adapter_config = config  # type: ignore[assignment]  # for `adapter_config`
    now = {"artists": prior.config.artists, "genres": prior.config.genres}
    prior.adapter_names = new_names(now if own_names is None else own_names, now)  # type: ignore[assignment]
    return config


def adapter_config(prior: torch.nn.Module) -> LoraConfig | None:
    """Return the settings of a prior's adapter; None without one."""
    return getattr(prior, "adapter_config", None)


def check_adapter_settings(checkpoint: Path, prior: torch.nn.Module) -> None:
    """Refuse to resume adapters from a checkpoint with other settings that the shapes of its tensors do not show.

    Raises:
        ValueError: they differ; the message names the first one.
    """
    config, path = adapter_config(prior), checkpoint / "adapter" / CONFIG_FILE
    saved = read_json_object(path) if path.is_file() else {}
    for name in ("lora_alpha", "lora_dropout") if saved and config is not None else ():
        before, now = saved.get(name), getattr(config, name)
        if before != now:
            raise ValueError(
                f"{checkpoint} is of another adapter: its {name} is {before!r:.80}, not {now!r}; "
                "give the options that it was trained with, or another --output_dir."
            )


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
    base = config.base_model_name_or_path
    if base and Path(base).is_dir():  # a path of this machine is of no use elsewhere
        config = replace(config, base_model_name_or_path=Path(base).name)
    config.save_pretrained(str(folder))
    write_details(folder, prior.config.level, prior.adapter_names, prior.config.weights_license)  # type: ignore[arg-type]


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
