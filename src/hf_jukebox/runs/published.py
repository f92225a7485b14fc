"""Codes that the published implementation has drawn."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..torch_files import read_torch_file


def read_published_codes(path: str | os.PathLike[str]) -> list[torch.Tensor | None]:
    """The codes `[N, T_level]` in a `data.pth.tar`, finest level first; None where a level was not drawn.

    Nothing but tensors and plain values is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, damaged, or holds other objects.
    """
    content = read_torch_file(Path(path))
    codes = content.get("zs") if isinstance(content, dict) else None
    if not isinstance(codes, list) or not all(isinstance(each, torch.Tensor) and each.dim() == 2 for each in codes):
        raise ValueError(f"{path} holds no codes: there is no list 'zs' of tensors [N, T], one a level, in it.")
    if any(each.is_floating_point() or each.is_complex() or each.dtype == torch.bool for each in codes):
        raise ValueError(f"{path} holds codes that are no whole numbers; give the file that sampling wrote.")
    return [each.long() if each.shape[1] else None for each in codes]
