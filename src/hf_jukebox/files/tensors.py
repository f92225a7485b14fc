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
        except SafetensorError as error:  # usually a full disk
            raise OSError(str(error)) from error


def read_tensors(path: Path, most_bytes: int | None = None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors of a file and its metadata.

    Args:
        most_bytes: Size limit for files from untrusted sources.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged.
    """
    # Read in one pass: safe_open opens a file twice by its name, and the file may be replaced in between.
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if most_bytes is not None and path.stat().st_size > most_bytes:
        raise ValueError(f"{path} is larger than the memory available for it; put back a copy of it, or remove it.")
    try:
        content = path.read_bytes()
        tensors = load(content)
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch lacks
        raise ValueError(
            f"{path} is damaged or cut short ({error}); put back a copy of it, or remove it to sample its part again."
        ) from error
    return tensors, tensors_metadata(content)


def tensors_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file that has been loaded."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {})
