"""Checks on the weight files in a model's folder, before anything is allocated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..files.text import read_json_object

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SPARE_BYTES = 2**26  # missing weights of a small model, which the strict loader reports by name
_MAX_WIDENING = 4  # bytes per value in memory over those in the file: at most float32 over int8
_FOREIGN = {
    ".metadata": "a distributed checkpoint, which is unpickled",
    "adapter_config.json": "an adapter; load the prior that it was trained on, and the adapter onto that",
}


def check_folder(folder: Path, variant: str | None = None) -> int:
    """Refuse a model's folder that refers to files outside of it; return the size of its weights in bytes.

    Links to regular files are followed: weights are often stored elsewhere.

    Raises:
        OSError: there are no weights.
        ValueError: the folder is not a model's, or the index of its shards names files outside of it.
    """
    found = find_weights(folder, variant)
    paths = [found] if found.suffix == ".safetensors" else shard_paths(found)
    if found not in paths and not isinstance(read_json_object(found).get("metadata"), dict):
        raise ValueError(f"{found} lacks its metadata; copy or download it again.")
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing or not a regular file; copy or download it again.")
    return sum(path.stat().st_size for path in paths)


def find_weights(folder: Path, variant: str | None = None) -> Path:
    """Return the weight file in a model's folder, or the index of its shards.

    Raises:
        OSError: there are no weights.
        ValueError: the folder is not a model's.
    """
    for name, meaning in _FOREIGN.items():
        if (folder / name).exists():
            raise ValueError(f"{folder} holds {name}: it is {meaning}.")
    names = [_with_variant(name, variant) for name in (WEIGHTS, INDEX)]
    if variant is not None:  # transformers falls back to the files without it
        names += [WEIGHTS, INDEX]
    found = next((folder / name for name in names if os.path.lexists(folder / name)), None)
    if found is None:
        raise FileNotFoundError(
            f"There is no file named {names[0]} in {folder}; give the folder that save_pretrained wrote."
        )
    return found


def shard_paths(index: Path) -> list[Path]:
    """Return the weight files that an index names; see `files_of_tensors` for the errors."""
    return sorted(set(files_of_tensors(index).values()))


def files_of_tensors(index: Path) -> dict[str, Path]:
    """Return the weight file that an index names for each tensor.

    Raises:
        OSError: the index cannot be read.
        ValueError: the file is not an index, or names files outside of its folder.
    """
    content = read_json_object(index)
    names = content.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{index} lists no weights; copy or download it again.")
    for name in names.values():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"{index} names the file {name!r}, but weights must be in the folder of their index; download it again."
            )
    return {tensor: index.with_name(name) for tensor, name in names.items()}


def check_size(model_class: type[nn.Module], config: Any, stored: int, source: object, fits: bool = False) -> None:
    """Refuse a configuration that needs more weights than the files or the memory hold, without building the model.

    Args:
        config: Configuration of the model.
        stored: Size of the weight files in bytes.
        source: Source of the model, for the message.
        fits: Skip the check against memory, for weights that are placed elsewhere or quantised.

    Raises:
        ValueError: the model is too large for either.
    """
    wanted = _weight_bytes(model_class, config)
    if wanted > _MAX_WIDENING * stored + _SPARE_BYTES:
        raise ValueError(
            f"The config.json of {source} asks for {_format_bytes(wanted)} of weights, but the files hold "
            f"{_format_bytes(stored)}; copy or download both again."
        )
    memory = _memory()
    if not fits and wanted // 2 > memory:
        raise ValueError(
            f"The weights of {source} take {_format_bytes(wanted // 2)} even in half precision, but this machine has "
            f"{_format_bytes(memory)} of memory; use a smaller model, or give a device_map."
        )


def _weight_bytes(model_class: type[nn.Module], config: Any) -> int:
    """Return the bytes of a model's weights in float32, without allocating them."""
    with torch.device("meta"):
        model = model_class(config)
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


def _memory() -> int:
    """Return the machine's memory in bytes; practically unlimited if the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**63


def _format_bytes(size: int) -> str:
    """Format a size in the largest unit in which it is at least 1."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def _with_variant(name: str, variant: str | None) -> str:
    stem, _, ending = name.rpartition(".")
    return name if variant is None else f"{stem}.{variant}.{ending}"
