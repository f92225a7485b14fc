"""Reading of codes that the published implementation has sampled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..files.torch_files import read_torch_file
from ..hierarchy import Hierarchy
from ..sampling.known import check_codes

_INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)


def read_published_codes(path: str | os.PathLike[str]) -> list[torch.Tensor | None]:
    """Read the codes `[N, T_level]` in a `data.pth.tar`, or a list of codes that was saved alone, finest level first.

    The file holds a dict with the codes as `zs`, or just their list. A level may be shorter than the piece, or None if
    nothing was sampled there. Only tensors and plain values are unpickled.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or holds something other than codes.
    """
    content = read_torch_file(Path(path))
    codes = content.get("zs") if isinstance(content, dict) else content
    if not isinstance(codes, list | tuple) or not codes or not all(isinstance(each, torch.Tensor) for each in codes):
        raise ValueError(f"{path} holds no codes; it needs a list of tensors [N, T], one per level, alone or as 'zs'.")
    for level, each in enumerate(codes):
        _check(each, level, path)
    if len({len(each) for each in codes if each.shape[1]}) > 1:
        raise ValueError(f"{path} holds different numbers of songs at its levels; give the file that sampling wrote.")
    if codes[-1].shape[1] == 0:
        raise ValueError(f"{path} holds no codes of the top level, from which the other levels are sampled.")
    return [each.long() if each.shape[1] else None for each in codes]


def levels_to_upsample(codes: list[torch.Tensor | None], hierarchy: Hierarchy) -> list[int]:
    """List the levels below the top that are shorter than the piece.

    Raises:
        ValueError: there are none, or the codes do not fit the hierarchy.
    """
    top = codes[-1]
    if len(codes) != hierarchy.num_levels or top is None:
        raise ValueError(
            f"The file has codes of {len(codes)} levels, but the model has {hierarchy.num_levels}; give the --model "
            "that they were sampled with."
        )
    check_codes(codes, hierarchy, top.shape[1])
    lengths = [0 if each is None else each.shape[1] for each in codes]
    wanted = [level for level in range(len(codes) - 1) if lengths[level] < hierarchy.codes(level, top.shape[1])]
    if not wanted:
        raise ValueError("The codes in the file are complete down to the finest level; there is nothing to upsample.")
    return wanted


def _check(codes: torch.Tensor, level: int, path: Any) -> None:
    is_plain = codes.layout == torch.strided and not codes.is_meta and codes.dtype in _INTEGERS and codes.dim() == 2
    if not is_plain or codes.shape[0] == 0:
        raise ValueError(
            f"{path} holds no codes at level {level}: expected integers [N, T], not {codes.dtype} {list(codes.shape)}."
        )
    if codes.numel() > codes.untyped_storage().nbytes() // codes.element_size():
        raise ValueError(f"{path} stores fewer codes at level {level} than its shape has; save contiguous tensors.")
    if codes.numel() and int(codes.min()) < 0:
        raise ValueError(f"{path} holds negative numbers at level {level}; codes count from 0.")
