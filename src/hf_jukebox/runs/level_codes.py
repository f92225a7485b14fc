"""The codes of a level as a file."""

from __future__ import annotations

from pathlib import Path

import torch

from ..files.tensors import read_tensors, write_tensors
from ..sampling.known import KnownCodes
from ..sampling.state import LevelCodes


def write_codes(path: Path, of_level: LevelCodes, step: int) -> None:
    """Write what there is of a level after some step, seams and all, in one piece."""
    seams = [(song, at, warm_up) for song, of_song in enumerate(of_level.seams) for at, warm_up in of_song.items()]
    # Segments may be finished beyond the first gap.
    end = of_level.total if seams else max(of_level.filled)
    tensors = {"codes": of_level.codes[:, :end].int(), "filled": torch.tensor(of_level.filled)}
    if seams:
        tensors["seams"] = torch.tensor([(song, at, len(warm_up)) for song, at, warm_up in seams])
        tensors["warm_ups"] = torch.cat([warm_up for _, _, warm_up in seams]).int()
    write_tensors(path, tensors, {"step": step})


def read_codes(path: Path) -> tuple[KnownCodes, int]:
    """The codes of a level, and the step that wrote them; a folder may be older than seams.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    step = metadata.get("step", "")
    if not (step.isdecimal() and len(step) < 10 and _hold_codes(tensors)):
        raise ValueError(f"{path} does not hold the codes of a level; put back a copy of it.")
    codes = KnownCodes(tensors["codes"].long(), tensors["filled"].tolist(), [{} for _ in tensors["filled"]])
    if "seams" in tensors:
        places = tensors["seams"].tolist()
        warm_ups = tensors["warm_ups"].long().split([length for _, _, length in places])
        for (song, at, _), warm_up in zip(places, warm_ups, strict=True):
            codes.seams[song][at] = warm_up
    return codes, int(step)


def _hold_codes(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are those that `write_codes` writes."""
    if not {"codes", "filled"} <= set(tensors) <= {"codes", "filled", "seams", "warm_ups"}:
        return False
    codes, filled = tensors["codes"], tensors["filled"]
    if not (_are_numbers(codes, 2) and _are_numbers(filled, 1) and len(codes) == len(filled) > 0):
        return False
    if filled.max() > codes.shape[1]:
        return False
    if len(tensors) == 2:
        return True
    if len(tensors) == 3 or not (_are_numbers(tensors["seams"], 2) and _are_numbers(tensors["warm_ups"], 1)):
        return False
    seams = tensors["seams"].long()
    if seams.shape[1] != 3 or len(seams) == 0:
        return False
    song, at, length = seams.T
    lengths = int(length.clamp_max(2**40).sum())
    within = bool((song < len(codes)).all() and (at < codes.shape[1]).all() and (length <= at).all())
    return within and lengths == len(tensors["warm_ups"])


def _are_numbers(tensor: torch.Tensor, dimensions: int) -> bool:
    """Whether a tensor holds whole numbers of at least 0 in so many dimensions."""
    if tensor.dtype not in (torch.int32, torch.int64) or tensor.dim() != dimensions:
        return False
    return tensor.numel() == 0 or int(tensor.min()) >= 0
