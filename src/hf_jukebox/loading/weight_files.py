"""What the weight files in a model's folder hold, read from their headers before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files.text import read_json_object

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SPARE_BYTES = 2**26  # what a small model may lack, which a better message than ours lists by name
_PRECISIONS = 4  # bytes a value in memory over those in a file: float32 of int8 at most
_FOREIGN = {
    ".metadata": "a distributed checkpoint, which is unpickled",
    "adapter_config.json": "an adapter; load the prior that it was trained on, and the adapter onto that",
}


def check_folder(folder: Path, variant: str | None = None) -> int:
    """Refuse a model's folder that would have other files read than its own; return the bytes of its weights.

    Links are followed, to regular files only: weights are often kept elsewhere.

    Raises:
        OSError: there are no weights.
        ValueError: the folder is something else, or the index of its shards names files outside of it.
    """
    for name, what in _FOREIGN.items():
        if (folder / name).exists():
            raise ValueError(f"{folder} holds {name}: it is {what}.")
    names = [_with_variant(name, variant) for name in (WEIGHTS, INDEX)]
    if variant is not None:  # transformers falls back on the files without it
        names += [WEIGHTS, INDEX]
    found = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    if found is None:
        raise FileNotFoundError(f"There is no file named {names[0]} in {folder}; give what save_pretrained wrote.")
    paths = [found] if found.suffix == ".safetensors" else shard_paths(found)
    if found not in paths and not isinstance(read_json_object(found).get("metadata"), dict):
        raise ValueError(f"{found} lacks its metadata; copy or download it again.")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing or is no regular file; copy or download it again.")
    return sum(path.stat().st_size for path in paths)


def shard_paths(index: Path) -> list[Path]:
    """List the files of weights that an index names.

    Raises:
        OSError: the index cannot be read.
        ValueError: it is no index, or names files outside of its folder.
    """
    content = read_json_object(index)
    names = content.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{index} lists no weights; copy or download it again.")
    for name in names.values():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(f"{index} names the file {name!r}, but weights lie beside their index, under plain names.")
    return [index.with_name(name) for name in sorted(set(names.values()))]


def check_size(model_class: type[nn.Module], config: Any, stored: int, source: object, fits: bool = False) -> None:
    """Refuse a configuration that asks for more weights than the files hold, or the memory, without building the model.

    Args:
        config: Of the model.
        stored: Bytes of the weight files.
        source: What the message names.
        fits: Do not compare with the memory: the weights go elsewhere, or are quantised.

    Raises:
        ValueError: the model would be larger.
    """
    wanted = bytes_of(model_class, config)
    if wanted > _PRECISIONS * stored + _SPARE_BYTES:
        raise ValueError(
            f"The config.json of {source} asks for {readable(wanted)} of weights, but the files hold "
            f"{readable(stored)}; copy or download both again."
        )
    memory = _memory()
    if not fits and wanted // 2 > memory:
        raise ValueError(
            f"The weights of {source} take {readable(wanted // 2)} even in half precision, but this machine has "
            f"{readable(memory)} of memory; use a smaller model, or give a device_map."
        )


def bytes_of(model_class: type[nn.Module], config: Any) -> int:
    """Bytes of a model's weights in float32, counted without allocating them."""
    with torch.device("meta"):
        model = model_class(config)
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


def _memory() -> int:
    """Bytes of memory that the machine has; practically unlimited where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**63


def readable(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def _with_variant(name: str, variant: str | None) -> str:
    stem, _, ending = name.rpartition(".")
    return name if variant is None else f"{stem}.{variant}.{ending}"
