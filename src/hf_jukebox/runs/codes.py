"""The codes of a level as a file."""

from __future__ import annotations

from pathlib import Path

import torch

from ..sampling.known import KnownCodes
from ..sampling.piece import LevelCodes
from ..tensor_files import read_tensors, write_tensors


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
        ValueError: the file is damaged.
    """
    tensors, metadata = read_tensors(path)
    codes = KnownCodes(tensors["codes"].long(), tensors["filled"].tolist(), [{} for _ in tensors["filled"]])
    if "seams" in tensors:
        places = tensors["seams"].tolist()
        warm_ups = tensors["warm_ups"].long().split([length for _, _, length in places])
        for (song, at, _), warm_up in zip(places, warm_ups, strict=True):
            codes.seams[song][at] = warm_up
    return codes, int(metadata["step"])
