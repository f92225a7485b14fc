"""Reading checkpoints that somebody else made: weights and plain settings, never code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import torch_files

# The original keeps its settings in a class of its own, which is a dict with attributes.
_READ_AS_DICT = "jukebox.hparams.Hyperparams"

# Measured figures among the settings are numpy's numbers where training ran on one process. These are data: a type, and
# the bytes of a value. Older versions of numpy call the function by another name.
_MAKE_NUMBER = np.float64().__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"},
    (_MAKE_NUMBER, "numpy._core.multiarray.scalar"),
    (_MAKE_NUMBER, "numpy.core.multiarray.scalar"),
]


def read_torch_file(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, in either of its formats, read on the CPU without running any pickled code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no checkpoint, or holds objects that only code could rebuild; see
            [`torch_files.read_torch_file`].
    """
    content = torch_files.read_torch_file(path, [(dict, _READ_AS_DICT), *_NUMPY_NUMBERS])
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} instead of a checkpoint's dict.")
    return content


def tensors_of(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """The entries of a state dict, without the prefix that parallel training adds.

    Raises:
        ValueError: an entry is no tensor.
    """
    strange = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange or not content:
        what = f"{strange[0]!r} is no tensor" if strange else "there are no tensors"
        raise ValueError(f"{path} is no checkpoint of a model: {what}.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}
