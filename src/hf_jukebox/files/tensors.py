"""Tensors with metadata as safetensors files, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from .atomic import replacing


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors and their metadata as one safetensors file."""
    with replacing(path) as unfinished:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        try:
            save_file(contiguous, unfinished, {key: str(value) for key, value in metadata.items()})
        except SafetensorError as error:  # a full disk, mostly
            raise OSError(str(error)) from error


def read_tensors(path: Path, most_bytes: int | None = None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors of a file and its metadata.

    Args:
        most_bytes: Size of the largest file to read, where it may come from anybody.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged.
    """
    # Read at once: safe_open opens a file by its name twice, and the file may be replaced in between.
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if most_bytes is not None and path.stat().st_size > most_bytes:
        raise ValueError(f"{path} is larger than the memory there is for it; put back a copy of it, or remove it.")
    try:
        content = path.read_bytes()
        tensors = load(content)
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch has not
        raise ValueError(
            f"{path} is damaged or cut short ({error}); put back a copy of it, or remove it to draw its part anew."
        ) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, header.get("__metadata__", {})
