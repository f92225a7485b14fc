"""Low-rank adapters (Hu et al. 2021) on a prior: loaded, weighted, merged into it and taken off again.

Needs peft (in the extra `train`), of which only `peft.functional` is used, its interface for other libraries.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from peft import LoraConfig
from peft.functional import delete_adapter, inject_adapter_in_model, set_adapter, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .files.text import listed, read_json_object, user_path
from .modeling_prior import JukeboxPrior

WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
PEFT_PREFIX = "base_model.model."  # peft's files name parameters as they are called inside its own wrapper
LABEL_TABLES = "label_embedding"
_LAYER = re.compile(r"[\w.\\^$]+")  # no expression that takes long to match
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")

Tensors = dict[str, torch.Tensor]


@dataclass
class Adapter:
    """One adapter on a prior.

    Attributes:
        source: Folder or Hub repository that it came from.
        tables: Its label tables less the prior's own, float32.
        scale: Strength with which it is used; 0 if it is not.
    """

    source: str
    tables: Tensors
    scale: float = 1.0


@dataclass
class Adapters:
    """The adapters on a prior, and what the prior was without them."""

    tables: Tensors
    trainable: set[str]
    by_name: dict[str, Adapter] = field(default_factory=dict)


def adapters_of(prior: JukeboxPrior) -> dict[str, float]:
    """Return the adapters that were loaded onto a prior: name to scale."""
    state = _state(prior)
    return {} if state is None else {name: adapter.scale for name, adapter in state.by_name.items()}


def load_adapter(
    prior: JukeboxPrior,
    source: str | os.PathLike[str],
    name: str = "default",
    *,
    scale: float = 1.0,
    subfolder: str | None = None,
    **hub: Any,
) -> None:
    """Load an adapter onto a prior, beside those that are there, and use it.

    Label tables that were trained along with the adapter are added as differences, so that they scale and add up as
    the matrices do. A pipeline that was compiled has to be compiled again.

    Args:
        source: What `--lora_rank` wrote, or any LoRA in peft's format: a folder or a Hub repository.
        name: What to call it in the functions below.
        scale: Its strength: 1 as it was trained, 0 not at all.
        subfolder: Where it is in `source`; by default there or in its folder `adapter`.
        hub: `revision`, `token`, `cache_dir` and whatever else `hf_hub_download` takes.

    Raises:
        OSError: there is no adapter at that place, or its files are damaged.
        ValueError: it was trained on another prior, it is no plain LoRA, or the name is taken. The prior is unchanged.
    """
    if name in adapters_of(prior):
        raise ValueError(f"There is an adapter {name!r} already; give another name=, or unload_adapter it first.")
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"An adapter's name is made of letters, digits and _, not {name!r}.")
    if getattr(prior, "peft_config", None) and _state(prior) is None:
        raise ValueError("This prior has adapters already, from training or through peft; merge or unload those first.")
    if any(parameter.is_meta for parameter in prior.parameters()):
        raise ValueError("This prior is not in memory (low_memory=True); load the adapter onto one that is.")
    folder = _find(source, subfolder, hub)
    settings, weights = _read(folder)
    tables = {key: value for key, value in weights.items() if key.startswith(f"{LABEL_TABLES}.")}
    ranks = _check(prior, str(source), weights, tables)
    state = _state(prior) or Adapters(
        {key: value.detach().clone() for key, value in prior.named_parameters() if key.startswith(LABEL_TABLES)},
        {key for key, value in prior.named_parameters() if value.requires_grad},
    )
    # Only the layers that the file has matrices for, each by its whole name and with the rank of these matrices.
    config = LoraConfig(
        target_modules="|".join(map(re.escape, ranks)),
        r=max(ranks.values()),
        rank_pattern={f"^{re.escape(layer)}": rank for layer, rank in ranks.items()},
        lora_alpha=settings["lora_alpha"],
        alpha_pattern=settings.get("alpha_pattern") or {},
        use_rslora=bool(settings.get("use_rslora")),
        inference_mode=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are what is wanted
        inject_adapter_in_model(config, prior, name)
    matrices = {PEFT_PREFIX + key: value for key, value in weights.items() if key not in tables}
    set_peft_model_state_dict(prior, matrices, name)
    differences = {key: value.float().to(state.tables[key].device) - state.tables[key] for key, value in tables.items()}
    state.by_name[name] = Adapter(str(source), differences, scale)
    prior.adapters = state  # type: ignore[assignment]
    set_adapters(prior, adapters_of(prior))


def set_adapters(prior: JukeboxPrior, scales: str | Sequence[str] | Mapping[str, float]) -> None:
    """Use these of the loaded adapters and no others.

    Args:
        scales: Their names, for a scale of 1 each, or name to scale.

    Raises:
        ValueError: there is no adapter of that name.
    """
    state = _loaded(prior)
    names = [scales] if isinstance(scales, str) else scales
    wanted = {name: float(scales[name]) if isinstance(scales, Mapping) else 1.0 for name in names}
    for name in wanted:
        _check_name(state, name)
    set_adapter(prior, list(wanted), inference_mode=True)
    for layer in prior.modules():
        if isinstance(layer, LoraLayer):
            for name in wanted.keys() & layer.scaling.keys():
                layer.set_scale(name, wanted[name])
    for name, adapter in state.by_name.items():
        adapter.scale = wanted.get(name, 0.0)
    with torch.no_grad():
        for key, own in state.tables.items():
            table = prior.get_parameter(key)
            changes = [each.scale * each.tables[key] for each in state.by_name.values() if key in each.tables]
            table.copy_(sum(changes, own.float()) if any(adapter.scale for adapter in state.by_name.values()) else own)


def merge_adapters(prior: JukeboxPrior) -> None:
    """Fold the adapters in use into the weights, each with its scale: a plain prior again, that can be saved.

    Raises:
        ValueError: there is no adapter on it.
    """
    state = _loaded(prior)
    used = [name for name, adapter in state.by_name.items() if adapter.scale]
    layers: list[Any] = [layer for layer in prior.modules() if isinstance(layer, LoraLayer)]
    with torch.no_grad():
        for layer in layers:
            for name in used:
                if name in layer.lora_A:
                    layer.get_base_layer().weight.add_(layer.get_delta_weight(name))
    _unwrap(prior)


def unload_adapter(prior: JukeboxPrior, name: str | None = None) -> None:
    """Take an adapter off a prior again; without any the prior is what it was, bit for bit.

    Args:
        name: Which one; by default all of them.

    Raises:
        ValueError: there is no adapter of that name.
    """
    state = _loaded(prior)
    if name is not None:
        _check_name(state, name)
    leaving = list(state.by_name) if name is None else [name]
    set_adapters(prior, {each: scale for each, scale in adapters_of(prior).items() if each not in leaving})
    for each in leaving:
        delete_adapter(prior, each, prefix="lora_")
        del state.by_name[each]
    if not state.by_name:
        _unwrap(prior)


def _state(prior: JukeboxPrior) -> Adapters | None:
    return getattr(prior, "adapters", None)


def _loaded(prior: JukeboxPrior) -> Adapters:
    state = _state(prior)
    if state is None:
        raise ValueError("There is no adapter on this prior; load_adapter puts one onto it.")
    return state


def _check_name(state: Adapters, name: str) -> None:
    if name not in state.by_name:
        raise ValueError(f"There is no adapter {name!r} on this prior; there are: {listed(state.by_name)}.")


def _unwrap(prior: JukeboxPrior) -> None:
    """Put the linear layers back into their places, and forget about adapters."""
    state = _loaded(prior)
    for name, layer in [(name, layer) for name, layer in prior.named_modules() if isinstance(layer, LoraLayer)]:
        parent, _, attribute = name.rpartition(".")
        setattr(prior.get_submodule(parent), attribute, layer.get_base_layer())
    for key, parameter in prior.named_parameters():
        parameter.requires_grad_(key in state.trainable)
    del prior.adapters
    if hasattr(prior, "peft_config"):
        del prior.peft_config


# Files ---------------------------------------------------------------------------------------------------------------


def _find(source: str | os.PathLike[str], subfolder: str | None, hub: Mapping[str, Any]) -> Path:
    """Folder with the files of an adapter, downloaded if need be."""
    places = ["", "adapter"] if subfolder is None else [subfolder]
    local = user_path(source)
    for place in places:
        if (local / place / CONFIG_FILE).is_file() and (local / place / WEIGHTS_FILE).is_file():
            return local / place
        if not local.is_dir():
            try:
                hf_hub_download(str(source), WEIGHTS_FILE, subfolder=place or None, **hub)
                return Path(hf_hub_download(str(source), CONFIG_FILE, subfolder=place or None, **hub)).parent
            except EntryNotFoundError:
                continue
            except (OSError, ValueError) as error:  # no such name, no such repository, no network
                reason = str(error).strip().split("\n")[0].rstrip(".")
                raise OSError(f"{source} is neither a folder nor a readable Hub repository ({reason}).") from error
    tried = listed(f"{source}/{place}" if place else str(source) for place in places)
    raise FileNotFoundError(f"There is no adapter in {tried}: {CONFIG_FILE} and {WEIGHTS_FILE} are looked for.")


def _read(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Settings and tensors of an adapter, by the names that the prior has for its layers."""
    try:
        settings = read_json_object(folder / CONFIG_FILE)
        weights = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, ValueError, OSError) as error:
        raise OSError(f"The adapter in {folder} is damaged ({error}); copy or download it again.") from error
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < 1e6 or settings.get("peft_type") != "LORA":
        raise ValueError(f"{folder / CONFIG_FILE} does not describe a LoRA of peft.")
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(
        _LAYER.fullmatch(layer) and isinstance(value, int | float) and 0 < value < 1e6
        for layer, value in patterns.items()
    ):
        raise ValueError(f"{folder / CONFIG_FILE}: alpha_pattern must hold one number above 0 per layer.")
    return settings, {key.removeprefix(PEFT_PREFIX): value for key, value in weights.items()}


def _check(prior: JukeboxPrior, source: str, weights: Tensors, tables: Tensors) -> dict[str, int]:
    """Ranks of the layers that an adapter is for, once it is clear that it fits this prior.

    Raises:
        ValueError: it does not.
    """
    wrong = f"The adapter {source} was trained on another prior"
    own = dict(prior.named_parameters())
    for key, value in tables.items():
        if key not in own:
            raise ValueError(f"{wrong}: this one has no {key}.")
        if own[key].shape != value.shape:
            raise ValueError(f"{wrong}: {key} is {list(value.shape)} instead of {list(own[key].shape)}.")
    layers = dict(prior.named_modules())
    shapes: dict[str, dict[str, torch.Size]] = {}
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"The adapter {source} holds numbers in {key} that are not finite.")
        match = _MATRIX.fullmatch(key)
        if match is not None and value.ndim == 2:
            shapes.setdefault(match[1], {})[match[2]] = value.shape
        elif key not in tables:
            raise ValueError(f"The adapter {source} is no plain LoRA of linear layers: it holds {key}.")
    for name, pair in shapes.items():
        layer = layers.get(name)
        layer = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
        if not isinstance(layer, nn.Linear):
            raise ValueError(f"{wrong}: this one has no linear layer {name}.")
        ranks = {pair["A"][0], pair["B"][1]} if len(pair) == 2 else set()
        if len(ranks) != 1 or 0 in ranks:
            raise ValueError(f"The adapter {source} is incomplete: lora_A and lora_B of {name} do not belong together.")
        found, needed = [pair["B"][0], pair["A"][1]], [layer.out_features, layer.in_features]
        if found != needed:
            raise ValueError(f"{wrong}: {name} is made for weights {found} instead of {needed}.")
    if not shapes:
        raise ValueError(f"The adapter {source} holds no low-rank matrices.")
    return {name: pair["A"][0] for name, pair in shapes.items()}
