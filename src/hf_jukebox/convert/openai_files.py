"""Reading of third-party checkpoints: weights and plain settings, never code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import torch_files

# The original stores its settings in a class of its own, a dict with attributes.
_READ_AS_DICT = "jukebox.hparams.Hyperparams"

# Measured values among the settings are numpy scalars if training ran on one process. These are data: a type, and the
# bytes of a value. Older versions of numpy have another name for the function.
_MAKE_NUMBER = np.float64().__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"},
    (_MAKE_NUMBER, "numpy._core.multiarray.scalar"),
    (_MAKE_NUMBER, "numpy.core.multiarray.scalar"),
]


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `torch.save`, in either of its formats, on the CPU and without running any pickled code.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, not a checkpoint, or holds objects that only code could rebuild; see
            [`torch_files.read_torch_file`].
    """
    content = torch_files.read_torch_file(path, [(dict, _READ_AS_DICT), *_NUMPY_NUMBERS])
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} instead of a checkpoint's dict.")
    return content


def tensors_of(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict, without the prefix that parallel training adds.

    Raises:
        ValueError: an entry is not a tensor.
    """
    strange = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange or not content:
        reason = f"{strange[0]!r} is not a tensor" if strange else "it holds no tensors"
        raise ValueError(f"{path} is not a checkpoint of a model: {reason}.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
