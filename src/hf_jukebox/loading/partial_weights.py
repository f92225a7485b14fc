"""Some of the weights of a model's folder, read without opening the files of the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..files.text import listed
from .weight_files import files_of_tensors, find_weights


def read_weights(
    folder: Path, shapes: Mapping[str, torch.Size], variant: str | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights `shapes` names, with their names; files that hold none of them need not be there.

    Raises:
        OSError: a file is missing, damaged or cannot be read.
        ValueError: weights are missing, or have another shape than in `shapes`.
    """
    path = find_weights(folder, variant)
    files = dict.fromkeys(shapes, path) if path.suffix == ".safetensors" else files_of_tensors(path)
    _check_present(folder, shapes, files)
    for file in sorted({files[name] for name in shapes}):
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing or not a regular file; copy or download it again.")
        try:
            with safe_open(os.fspath(file), framework="pt") as content:
                wanted = [name for name in shapes if files[name] == file]
                _check_present(folder, wanted, content.keys())
                for name in wanted:
                    tensor = content.get_tensor(name)
                    if tensor.shape != shapes[name]:
                        raise ValueError(
                            f"The weights in {folder} do not fit their config: {name} is {list(tensor.shape)} instead "
                            f"of {list(shapes[name])}."
                        )
                    yield name, tensor
        except SafetensorError as error:
            raise OSError(
                f"The weights in {folder} are damaged or cut short ({error}); copy, download or convert them again."
            ) from error


def _check_present(folder: Path, names: Iterable[str], present: Iterable[str]) -> None:
    missing = sorted(set(names) - set(present))
    if missing:
        raise ValueError(f"The weights in {folder} do not fit their config: {len(missing)} missing: {listed(missing)}.")
