"""Codes that the published implementation has drawn."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import torch


def read_published_codes(path: str | os.PathLike[str]) -> list[torch.Tensor | None]:
    """The codes `[N, T_level]` in a `data.pth.tar`, finest level first; None where a level was not drawn.

    Nothing but tensors and plain values is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, damaged, or holds other objects.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read: it is damaged, or holds more than tensors.") from error
    codes = content.get("zs") if isinstance(content, dict) else None
    if not isinstance(codes, list) or not all(isinstance(each, torch.Tensor) and each.dim() == 2 for each in codes):
        raise ValueError(f"{path} holds no codes: there is no list 'zs' of tensors [N, T], one a level, in it.")
    return [each.long() if each.shape[1] else None for each in codes]
