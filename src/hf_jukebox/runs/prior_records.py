"""The precision and the weights of a prior's blocks, as a run records them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from ..files.text import listed
from ..modeling_prior import JukeboxPrior
from .record import ModelRecord, PriorRecord

_AT_EACH_END = 4  # values of a tensor's first row, and of its last one
_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def prior_record(prior: JukeboxPrior, folder: Path | None = None) -> PriorRecord:
    """Return the record of a prior's blocks.

    Args:
        folder: Folder of the weights of a prior that has none in memory.
    """
    is_merged = bool(getattr(prior, "merged_adapters", ()))  # their record identifies the weights, merged or not
    return PriorRecord(str(prior.dtype), None if is_merged else _blocks_fingerprint(prior, folder))


def check_blocks(recorded: ModelRecord, now: ModelRecord, folder: Path) -> None:
    """Refuse priors whose blocks are not the recorded ones, where both are known in the same precision.

    Raises:
        ValueError: they differ; the message names them.
    """
    others = []
    for name, theirs in recorded.priors.items():
        own = now.priors.get(name, theirs)
        is_known = theirs.blocks is not None and own.blocks is not None and theirs.dtype == own.dtype
        if is_known and theirs.blocks != own.blocks:
            others.append(name)
    if others:
        where = f"load {recorded.source}" if recorded.source else "load the one that it was sampled with"
        raise ValueError(f"{folder} was sampled with another model: the weights of {listed(others)} differ; {where}.")


def _blocks_fingerprint(prior: JukeboxPrior, folder: Path | None) -> str | None:
    """Return a hash of samples of the blocks' weights in their precision, without adapters; None if there are none.

    Quantised weights have no samples: their values depend on the device that quantised them.
    """
    kept = tuple(prior._keep_in_fp32_modules_strict or ())
    weights = {
        name.replace(".base_layer.", "."): weight.detach()
        for name, weight in prior.named_parameters()
        if ".lora_" not in name and not any(part in kept for part in name.split("."))
    }
    if not all(weight.dtype in _PRECISIONS and weight.numel() for weight in weights.values()):
        return None
    if any(weight.is_meta for weight in weights.values()):
        samples = {} if folder is None else _stored_samples(folder, weights)
    else:
        samples = {name: _sample(weight) for name, weight in weights.items()}
    if not samples or samples.keys() != weights.keys():
        return None
    names = sorted(weights)
    shapes = [(name, str(weights[name].dtype), list(weights[name].shape)) for name in names]
    values = torch.cat([samples[name].float() for name in names]).cpu().numpy().tobytes()
    return hashlib.sha256(json.dumps(shapes).encode() + values).hexdigest()[:16]


def _sample(weight: torch.Tensor) -> torch.Tensor:
    """Return some values of a tensor, from its first and last row."""
    rows = (weight, weight) if weight.dim() < 2 else (weight[0].flatten(), weight[-1].flatten())
    return torch.cat([rows[0][:_AT_EACH_END], rows[1][-_AT_EACH_END:]])


def _stored_samples(folder: Path, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the same of weights in files, in the precision that `weights` have, without reading the rest of them."""
    samples = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in weights.keys() & set(file.keys()):
                stored = file.get_slice(name)
                if list(stored.get_shape()) == list(weights[name].shape):
                    last = torch.cat([stored[:1], stored[-1:]]) if weights[name].dim() > 1 else stored[:]
                    samples[name] = _sample(last.to(weights[name].dtype))
    return samples
