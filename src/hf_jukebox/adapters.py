"""Low-rank adapters (Hu et al. 2021) on a prior: loading, scaling, merging and unloading.

This needs peft (in the extra `lora`), of which only `peft.functional` is used, its interface for other libraries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from peft.functional import delete_adapter, set_adapter
from peft.tuners.lora import LoraLayer

from .adapter_state import (
    Adapters,
    MergedAdapter,
    check_fits,
    inject,
    is_absent,
    new_adapter,
    own_state,
    state_of,
    write_names,
    write_tables,
)
from .files.text import first_line, listed
from .loading.adapter_files import AdapterFiles, checked_scale, read_adapter
from .modeling_prior import JukeboxPrior


def adapters_of(prior: JukeboxPrior) -> dict[str, float]:
    """Return the adapters on a prior: name to scale."""
    state = state_of(prior)
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
    matrices, and its names of artists and genres are valid while it is in use. If another adapter has taken the same
    row of a table for another name, this one gets a row of its own. [`JukeboxPipeline.load_lora_weights`] also updates
    the tokenizer of a pipeline and its compiled step.

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
    check_free_name(prior, name)
    add_adapter_files(prior, read_adapter(source, subfolder, hub), name, scale)


def check_free_name(prior: JukeboxPrior, name: str) -> None:
    """Check that a prior can get an adapter of this name.

    Raises:
        ValueError: it cannot.
    """
    if name in adapters_of(prior):
        raise ValueError(f"There is an adapter {name!r} already; give another name, or unload it first.")
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"An adapter's name must consist of letters, digits and _, not {name!r}.")
    if getattr(prior, "peft_config", None) and state_of(prior) is None:
        raise ValueError("This prior has adapters already, from training or through peft; merge or unload those first.")


def add_adapter_files(prior: JukeboxPrior, files: AdapterFiles, name: str, scale: float = 1.0) -> None:
    """Put an adapter that has been read onto a prior; see `load_adapter`.

    A prior without weights in memory gets it when its weights are loaded, by `put_adapters_on`.

    Raises:
        ValueError: it was trained on another prior, or is not a plain LoRA. The prior is unchanged.
    """
    scale = checked_scale(scale)
    ranks = check_fits(prior, files)
    state = state_of(prior) or own_state(prior)
    adapter = new_adapter(state, files, ranks, scale)
    before = adapters_of(prior)
    prior.adapters = state  # type: ignore[assignment]
    if not is_absent(prior):
        try:
            inject(prior, name, adapter)
        except Exception as error:  # such as layers that peft cannot adapt
            _undo_injection(prior, name, state)
            raise ValueError(
                f"The adapter {files.place.source} cannot be put onto this prior ({first_line(error)}); load the prior "
                "without `quantization_config`."
            ) from error
    state.by_name[name] = adapter
    set_adapters(prior, before | {name: scale})


def put_adapters_on(absent: JukeboxPrior, loaded: JukeboxPrior) -> None:
    """Put the adapters of a prior without weights in memory onto the same prior with weights."""
    state = state_of(absent)
    if state is None:
        return
    own = own_state(loaded)
    own.by_name = {name: replace(adapter) for name, adapter in state.by_name.items()}
    for name, adapter in own.by_name.items():
        inject(loaded, name, adapter)
    loaded.adapters = own  # type: ignore[assignment]
    set_adapters(loaded, adapters_of(loaded))


def set_adapters(prior: JukeboxPrior, scales: str | Sequence[str] | Mapping[str, float]) -> None:
    """Use the given adapters, of those loaded, and no others.

    Args:
        scales: Names of adapters, each with a scale of 1, or name to scale.

    Raises:
        ValueError: there is no adapter of that name, or a scale is no finite number.
    """
    state = _loaded(prior)
    names = [scales] if isinstance(scales, str) else scales
    wanted = {name: checked_scale(scales[name]) if isinstance(scales, Mapping) else 1.0 for name in names}
    for name in wanted:
        _check_name(state, name)
    for name, adapter in state.by_name.items():
        adapter.scale = wanted.get(name, 0.0)
    write_names(prior, state)
    if is_absent(prior):
        return
    set_adapter(prior, list(wanted), inference_mode=True)
    for layer in prior.modules():
        if isinstance(layer, LoraLayer):
            for name in wanted.keys() & layer.scaling.keys():
                layer.set_scale(name, wanted[name])
    write_tables(prior, state)


def merge_adapters(prior: JukeboxPrior) -> None:
    """Merge the adapters in use into the weights, each with its scale, which leaves a plain prior that can be saved.

    Raises:
        ValueError: there is no adapter on the prior, or its weights are not in memory.
    """
    state = _loaded(prior)
    if is_absent(prior):
        raise ValueError(
            "This prior is not in memory (`low_memory=True`); load it without `low_memory` to merge adapters."
        )
    used = {name: adapter for name, adapter in state.by_name.items() if adapter.scale}
    layers: list[Any] = [layer for layer in prior.modules() if isinstance(layer, LoraLayer)]
    with torch.no_grad():
        for layer in layers:
            for name in used:
                if name in layer.lora_A:
                    layer.get_base_layer().weight.add_(layer.get_delta_weight(name))
    merged = [MergedAdapter(name, adapter.files.place, adapter.scale) for name, adapter in used.items()]
    prior.merged_adapters = [*getattr(prior, "merged_adapters", ()), *merged]  # type: ignore[assignment]
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
        if not is_absent(prior):
            delete_adapter(prior, each, prefix="lora_")
        del state.by_name[each]
    set_adapters(prior, adapters_of(prior))
    if not state.by_name:
        _unwrap(prior)


# Parts ---------------------------------------------------------------------------------------------------------------


def _loaded(prior: JukeboxPrior) -> Adapters:
    state = state_of(prior)
    if state is None:
        raise ValueError("There is no adapter on this prior; load one by `load_adapter()`.")
    return state


def _check_name(state: Adapters, name: str) -> None:
    if name not in state.by_name:
        raise ValueError(f"There is no adapter {name!r} on this prior; there are: {listed(state.by_name)}.")


def _undo_injection(prior: JukeboxPrior, name: str, state: Adapters) -> None:
    """Remove an adapter of which only some layers may be in place."""
    if state.by_name:
        delete_adapter(prior, name, prefix="lora_")
        set_adapters(prior, adapters_of(prior))
    else:
        _unwrap(prior)


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
