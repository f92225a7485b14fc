"""Low-rank adapters (Hu et al. 2021) on a prior: loading, scaling, merging and unloading.

This needs peft (in the extra `train`), of which only `peft.functional` is used, its interface for other libraries.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from peft.functional import delete_adapter, inject_adapter_in_model, set_adapter, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import nn

from .files.text import listed
from .loading.adapter_files import PEFT_PREFIX, Tensors, find_adapter, read_adapter
from .modeling_prior import JukeboxPrior

LABEL_TABLES = "label_embedding"
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")


@dataclass
class Adapter:
    """One adapter on a prior.

    Attributes:
        source: Folder or Hub repository of its files.
        tables: Differences of its label tables from the prior's own, float32.
        scale: Strength; 0 if it is not in use.
    """

    source: str
    tables: Tensors
    scale: float = 1.0


@dataclass
class Adapters:
    """The adapters on a prior, and the prior's own state.

    Attributes:
        tables: The prior's own label tables.
        trainable: Names of its own trainable parameters.
        by_name: Adapters by name.
    """

    tables: Tensors
    trainable: set[str]
    by_name: dict[str, Adapter] = field(default_factory=dict)


def adapters_of(prior: JukeboxPrior) -> dict[str, float]:
    """Return the adapters on a prior: name to scale."""
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
    """Load an adapter onto a prior, in addition to those already loaded, and use it.

    Label tables that were trained with the adapter are added as differences, so that they scale and add up like the
    matrices. A compiled pipeline has to be compiled again.

    Args:
        source: Folder or Hub repository with a LoRA in peft's format, such as a training with `--lora_rank` writes.
        name: Name of the adapter in the functions below.
        scale: Strength: 1 as trained, 0 for no effect.
        subfolder: Folder in `source`; by default `source` itself or its folder `adapter`.
        hub: `revision`, `token`, `cache_dir` and other arguments of `hf_hub_download`.

    Raises:
        OSError: there is no adapter there, or its files are damaged.
        ValueError: the adapter was trained on another prior or is not a plain LoRA, or the name is in use. The prior
            is unchanged.
    """
    if name in adapters_of(prior):
        raise ValueError(f"There is an adapter {name!r} already; give another name, or unload it first.")
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"An adapter's name must consist of letters, digits and _, not {name!r}.")
    if getattr(prior, "peft_config", None) and _state(prior) is None:
        raise ValueError("This prior has adapters already, from training or through peft; merge or unload those first.")
    if any(parameter.is_meta for parameter in prior.parameters()):
        raise ValueError("This prior is not in memory (low_memory=True); load it without low_memory to use adapters.")
    folder = find_adapter(source, subfolder, hub)
    settings, weights = read_adapter(folder)
    tables = {key: value for key, value in weights.items() if key.startswith(f"{LABEL_TABLES}.")}
    ranks = _check_fits(prior, str(source), weights, tables)
    state = _state(prior) or Adapters(
        {key: value.detach().clone() for key, value in prior.named_parameters() if key.startswith(LABEL_TABLES)},
        {key for key, value in prior.named_parameters() if value.requires_grad},
    )
    # Only layers with matrices in the file, each by its full name and with the rank of its matrices.
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
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are intended
        inject_adapter_in_model(config, prior, name)
    matrices = {PEFT_PREFIX + key: value for key, value in weights.items() if key not in tables}
    set_peft_model_state_dict(prior, matrices, name)
    differences = {key: value.float().to(state.tables[key].device) - state.tables[key] for key, value in tables.items()}
    state.by_name[name] = Adapter(str(source), differences, scale)
    prior.adapters = state  # type: ignore[assignment]
    set_adapters(prior, adapters_of(prior))


def set_adapters(prior: JukeboxPrior, scales: str | Sequence[str] | Mapping[str, float]) -> None:
    """Use the given adapters, of those loaded, and no others.

    Args:
        scales: Names of adapters, each with a scale of 1, or name to scale.

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
    """Merge the adapters in use into the weights, each with its scale, which leaves a plain prior that can be saved.

    Raises:
        ValueError: there is no adapter on the prior.
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
    """Remove an adapter from a prior; without adapters the prior is restored, bit for bit.

    Args:
        name: Name of the adapter; by default all are removed.

    Raises:
        ValueError: there is no adapter of that name.
    """
    state = _loaded(prior)
    if name is not None:
        _check_name(state, name)
    removed = list(state.by_name) if name is None else [name]
    set_adapters(prior, {each: scale for each, scale in adapters_of(prior).items() if each not in removed})
    for each in removed:
        delete_adapter(prior, each, prefix="lora_")
        del state.by_name[each]
    if not state.by_name:
        _unwrap(prior)


def _state(prior: JukeboxPrior) -> Adapters | None:
    return getattr(prior, "adapters", None)


def _loaded(prior: JukeboxPrior) -> Adapters:
    state = _state(prior)
    if state is None:
        raise ValueError("There is no adapter on this prior; load one by load_adapter.")
    return state


def _check_name(state: Adapters, name: str) -> None:
    if name not in state.by_name:
        raise ValueError(f"There is no adapter {name!r} on this prior; there are: {listed(state.by_name)}.")


def _unwrap(prior: JukeboxPrior) -> None:
    """Restore the plain linear layers, and drop the state of adapters."""
    state = _loaded(prior)
    for name, layer in [(name, layer) for name, layer in prior.named_modules() if isinstance(layer, LoraLayer)]:
        parent, _, attribute = name.rpartition(".")
        setattr(prior.get_submodule(parent), attribute, layer.get_base_layer())
    for key, parameter in prior.named_parameters():
        parameter.requires_grad_(key in state.trainable)
    del prior.adapters
    if hasattr(prior, "peft_config"):
        del prior.peft_config


def _check_fits(prior: JukeboxPrior, source: str, weights: Tensors, tables: Tensors) -> dict[str, int]:
    """Check that an adapter fits a prior; return the ranks of the layers it applies to.

    Raises:
        ValueError: it does not fit.
    """
    wrong = f"The adapter {source} was trained on another prior"
    parameters = dict(prior.named_parameters())
    for key, value in tables.items():
        if key not in parameters:
            raise ValueError(f"{wrong}: this one has no {key}.")
        if parameters[key].shape != value.shape:
            raise ValueError(f"{wrong}: {key} is {list(value.shape)} instead of {list(parameters[key].shape)}.")
    layers = dict(prior.named_modules())
    shapes: dict[str, dict[str, torch.Size]] = {}
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"The adapter {source} holds numbers in {key} that are not finite.")
        match = _MATRIX.fullmatch(key)
        if match is not None and value.ndim == 2:
            shapes.setdefault(match[1], {})[match[2]] = value.shape
        elif key not in tables:
            raise ValueError(f"The adapter {source} is not a plain LoRA of linear layers: it holds {key}.")
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
            raise ValueError(f"{wrong}: {name} is for weights {found} instead of {needed}.")
    if not shapes:
        raise ValueError(f"The adapter {source} holds no low-rank matrices.")
    return {name: pair["A"][0] for name, pair in shapes.items()}
