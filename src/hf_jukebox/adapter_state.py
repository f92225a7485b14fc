"""State of the adapters on a prior, and how it is put into the prior's layers, tables and names."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

try:
    from peft import LoraConfig
    from peft.functional import inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Adapters need peft; install it with: pip install 'hf_jukebox[lora]'", name="peft"
    ) from error

from .labels.adapted_rows import AdaptedRows, joined_names, place_rows, rows_needed, summed_table
from .loading.adapter_files import LABEL_TABLES, PEFT_PREFIX, TABLE_OF, AdapterFiles, AdapterSource, Tensors
from .modeling_prior import JukeboxPrior

_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")


@dataclass
class Adapter:
    """One adapter on a prior.

    Attributes:
        files: Its content.
        config: Settings of peft for the layers of this adapter.
        rows: Rows of the label tables that it uses, by kind of name.
        scale: Strength; 0 if it is not in use.
    """

    files: AdapterFiles
    config: LoraConfig
    rows: dict[str, AdaptedRows]
    scale: float = 1.0


@dataclass
class Adapters:
    """The adapters on a prior, and the prior's own state.

    Attributes:
        names: The prior's own names.
        num_rows: Rows of its own label tables, by kind of name.
        tables: Its own label tables; empty while it has no weights in memory.
        trainable: Names of its own trainable parameters.
        by_name: Adapters by name.
    """

    names: dict[str, dict[str, int] | None]
    num_rows: dict[str, int]
    tables: Tensors
    trainable: set[str]
    by_name: dict[str, Adapter] = field(default_factory=dict)

    @property
    def used(self) -> list[Adapter]:
        return [adapter for adapter in self.by_name.values() if adapter.scale]


@dataclass(frozen=True)
class MergedAdapter:
    """An adapter that was merged into a prior, and the scale of it."""

    name: str
    place: AdapterSource
    scale: float


def state_of(prior: JukeboxPrior) -> Adapters | None:
    """Return the adapters on a prior; None without any."""
    return getattr(prior, "adapters", None)


def own_state(prior: JukeboxPrior) -> Adapters:
    """Return the state of a prior without adapters."""
    config = prior.config
    return Adapters(
        {"artists": config.artists, "genres": config.genres},
        {"artists": config.num_artists, "genres": config.num_genres},
        {}
        if is_absent(prior)
        else {key: each.detach().clone() for key, each in prior.named_parameters() if key.startswith(LABEL_TABLES)},
        {key for key, each in prior.named_parameters() if each.requires_grad},
    )


def is_absent(prior: JukeboxPrior) -> bool:
    """Return True for a prior whose weights are not in memory."""
    return prior.position_embedding.is_meta


def new_adapter(state: Adapters, files: AdapterFiles, ranks: dict[str, int], scale: float) -> Adapter:
    """Return an adapter beside those that are loaded, with settings for layers of the given ranks."""
    # Only layers with matrices in the file, each by its full name and with the rank of its matrices.
    config = LoraConfig(
        target_modules="|".join(map(re.escape, ranks)),
        r=max(ranks.values()),
        rank_pattern={f"^{re.escape(layer)}": rank for layer, rank in ranks.items()},
        lora_alpha=files.settings["lora_alpha"],
        alpha_pattern=files.settings.get("alpha_pattern") or {},
        use_rslora=bool(files.settings.get("use_rslora")),
        inference_mode=True,
    )
    rows = {
        kind: place_rows(
            state.names[kind] or {},
            state.num_rows[kind],
            files.names[kind],
            [each.rows[kind] for each in state.by_name.values()],
        )
        for kind in TABLE_OF
    }
    return Adapter(files, config, rows, scale)


def inject(prior: JukeboxPrior, name: str, adapter: Adapter) -> None:
    """Add the matrices of an adapter to the layers of a prior."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are intended
        inject_adapter_in_model(adapter.config, prior, name)
    set_peft_model_state_dict(prior, {PEFT_PREFIX + key: each for key, each in adapter.files.matrices.items()}, name)


def write_names(prior: JukeboxPrior, state: Adapters) -> None:
    """Make the names of the adapters in use those of the prior."""
    if not prior.config.has_labels:
        return
    for kind, own in state.names.items():
        used = [adapter.rows[kind] for adapter in state.used]
        rows = rows_needed(state.num_rows[kind], [adapter.rows[kind] for adapter in state.by_name.values()])
        setattr(prior.config, f"num_{kind}", rows)
        setattr(prior.config, kind, joined_names(own or {}, used) or own)


def write_tables(prior: JukeboxPrior, state: Adapters) -> None:
    """Add up the label tables of the adapters in use."""
    for kind, key in TABLE_OF.items():
        if key not in state.tables:
            continue
        own, rows = state.tables[key], getattr(prior.config, f"num_{kind}")
        changes = [
            (each.files.tables[key], each.rows[kind], each.scale) for each in state.used if key in each.files.tables
        ]
        table = summed_table(own, changes, rows).to(own.dtype)
        embedding: Any = prior.get_submodule(key.removesuffix(".weight"))
        if table.shape == embedding.weight.shape:
            with torch.no_grad():
                embedding.weight.copy_(table)
        else:
            table = table.to(embedding.weight.device)
            embedding.weight = nn.Parameter(table, requires_grad=embedding.weight.requires_grad)
            embedding.num_embeddings = rows


def check_fits(prior: JukeboxPrior, files: AdapterFiles) -> dict[str, int]:
    """Check that an adapter fits a prior; return the ranks of the layers it applies to.

    Raises:
        ValueError: it does not fit.
    """
    source = files.place.source
    wrong = f"The adapter {source} was trained on another prior"
    if files.level is not None and files.level != prior.config.level:
        raise ValueError(f"{wrong}: on one of level {files.level}, and this one is of level {prior.config.level}.")
    num_rows = (state_of(prior) or own_state(prior)).num_rows
    width = prior.config.hidden_size
    expected = {key: [num_rows[kind], width] for kind, key in TABLE_OF.items()} if prior.config.has_labels else {}
    for key, value in files.tables.items():
        if key not in expected:
            raise ValueError(f"{wrong}: this one has no {key}.")
        if list(value.shape) != expected[key]:
            raise ValueError(f"{wrong}: {key} is {list(value.shape)} instead of {expected[key]}.")
    layers = dict(prior.named_modules())
    shapes: dict[str, dict[str, torch.Size]] = {}
    for key, value in files.matrices.items():
        match = _MATRIX.fullmatch(key)
        if match is None or value.ndim != 2:
            raise ValueError(f"The adapter {source} is not a plain LoRA of linear layers: it holds {key}.")
        shapes.setdefault(match[1], {})[match[2]] = value.shape
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
