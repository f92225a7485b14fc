"""Files of the codes of a run: the codes of a level, and snapshots of the windows in progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, TypeAdapter

from ..files.tensors import read_tensors, write_tensors
from ..memory.batch_size import free_bytes
from ..sampling.batch import Snapshot
from ..sampling.known import KnownCodes
from ..sampling.parallel import Seam
from ..sampling.request import MOST_CODES, MOST_SONGS
from ..sampling.scheduler import Rows
from ..sampling.state import LevelCodes
from ..sampling.windows import Span, Window

_CODES = "codes"
_COPIES = 3  # of a window in progress, in memory while it is read
_Index = Annotated[int, Field(ge=0, le=MOST_CODES)]
_ROWS = TypeAdapter(
    Annotated[list[tuple[_Index, _Index, _Index, _Index, bool]], Field(min_length=1, max_length=MOST_SONGS)],
    config=ConfigDict(strict=True),
)


def codes_path(folder: Path, level: int) -> Path:
    """Return the path of the codes of a level in the folder of a run."""
    return folder / "codes" / f"level_{level}.safetensors"


def write_codes(path: Path, level_codes: LevelCodes, step: int) -> None:
    """Write the codes and seams that a level has after a step, as one file."""
    # Segments may be finished, and codes of unfinished ones excluded, beyond the first gap.
    end = max(level_codes.num_filled)
    if any(level_codes.seams) or any(position >= end for song in level_codes.avoided for position in song):
        end = level_codes.length
    known = KnownCodes(level_codes.codes[:, :end], level_codes.num_filled, level_codes.seams, level_codes.avoided)
    write_level(path, known, step)


def write_level(path: Path, known: KnownCodes, step: int) -> None:
    """Write known codes and their seams as the file of a level after a step."""
    write_tensors(path, codes_to_tensors(known), {"step": step})


def codes_to_tensors(known: KnownCodes) -> dict[str, torch.Tensor]:
    """Return the codes of a level and their seams as the tensors of a file."""
    seams = [(song, seam) for song, song_seams in enumerate(known.seams) for seam in song_seams]
    tensors = {_CODES: known.codes.int(), "filled": torch.tensor(known.lengths, device="cpu")}
    if seams:
        places = [(song, seam.position, len(seam.warm_up)) for song, seam in seams]
        tensors["seams"] = torch.tensor(places, device="cpu")
        tensors["warm_ups"] = torch.cat([seam.warm_up for _, seam in seams]).int()
    prices = [(song, *price) for song, song_prices in enumerate(known.avoided) for price in song_prices.items()]
    if prices:
        tensors["avoided"] = torch.tensor([(song, position) for song, position, _ in prices], device="cpu")
        tensors["prices"] = torch.tensor([bits for _, _, bits in prices], dtype=torch.float32, device="cpu")
    return tensors


def read_codes(path: Path) -> tuple[KnownCodes, int]:
    """Read the codes of a level, and the step that wrote them; older files hold no seams.

    Raises:
        ValueError: the file is damaged, or holds something else.
    """
    tensors, metadata = read_tensors(path)
    step = metadata.get("step", "")
    codes = tensors_to_codes(tensors)
    if not (step.isdecimal() and len(step) < 10) or codes is None:
        raise ValueError(f"{path} does not hold the codes of a level; put back a copy of it.")
    return codes, int(step)


def tensors_to_codes(tensors: dict[str, torch.Tensor]) -> KnownCodes | None:
    """Return the codes of a level from the tensors of a file; None if they are something else.

    Seams and prices beyond the codes are left out: early versions wrote those of segments in progress, and of songs
    that were cut.
    """
    if not _are_level_codes(tensors):
        return None
    length = tensors[_CODES].shape[1]
    codes = KnownCodes(tensors[_CODES].long(), tensors["filled"].tolist(), [[] for _ in tensors["filled"]])
    if "seams" in tensors:
        seams = tensors["seams"].tolist()
        warm_ups = tensors["warm_ups"].long().split([length for _, _, length in seams])
        for (song, position, _), warm_up in zip(seams, warm_ups, strict=True):
            if position < length:
                codes.seams[song].append(Seam(position, warm_up))
    if "avoided" in tensors:
        codes.avoided = [{} for _ in tensors["filled"]]
        for (song, position), bits in zip(tensors["avoided"].tolist(), tensors["prices"].tolist(), strict=True):
            if position < length:
                codes.avoided[song][position] = bits
    return codes


class SnapshotStore:
    """Snapshots of the batches in progress, one file per batch.

    Args:
        folder: Folder of the files.
        step: Current step; snapshots of other steps are ignored.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self._written: set[Path] = set()
        self._read: dict[Path, Rows] = {}

    def write(self, level: int, snapshots: Mapping[Rows, Snapshot]) -> None:
        """Write snapshots, and remove those that they replace.

        Those are the ones that this process has written before, and the ones that were read with rows which it samples
        now. Other files may be those of other processes.
        """
        written = set()
        for rows, snapshot in snapshots.items():
            snapshot.wait()
            path = self._path(level, rows)
            spans = json.dumps([[row.song, *astuple(row.window), row.warms_up] for row in rows])
            tensors = {_CODES: snapshot.codes.int(), **snapshot.tensors}
            write_tensors(path, tensors, {"step": self.step, "rows": spans})
            written.add(path)
        own = {row for rows in snapshots for row in rows}
        replaced = {path for path, rows in self._read.items() if not own.isdisjoint(rows)}
        for path in (self._written | replaced) - written:
            path.unlink(missing_ok=True)
        self._read = {path: rows for path, rows in self._read.items() if path not in replaced}
        self._written = written

    def read(self, level: int) -> dict[Rows, Snapshot]:
        """Read the snapshots of a level; the sampler checks whether they fit its prior.

        Raises:
            ValueError: one is damaged, or holds something else.
        """
        found = {}
        for path in sorted(self.folder.glob(f"level_{level}_*.safetensors")):
            tensors, metadata = read_tensors(path, most_bytes=free_bytes(torch.device("cpu")) // _COPIES)
            if metadata.get("step") != str(self.step) or "rows" not in metadata:  # format 1 had no rows
                continue
            rows, codes = _parse_rows(metadata["rows"]), tensors.pop(_CODES, None)
            if rows is None or codes is None or codes.dtype != torch.int32 or codes.shape[:-1] != (len(rows),):
                raise ValueError(f"{path} does not hold a window in progress; remove it to sample that window again.")
            found[rows] = Snapshot(codes.long(), tensors)
            self._read[path] = rows
        return found

    def clear(self, level: int) -> None:
        """Remove all snapshots of a level, including those of other processes."""
        for path in self.folder.glob(f"level_{level}_*.safetensors"):
            path.unlink(missing_ok=True)
        self._written, self._read = set(), {}

    def clear_earlier_steps(self) -> None:
        """Remove all snapshots; called when a step begins, before it has any."""
        for path in self.folder.glob("level_*.safetensors"):
            path.unlink(missing_ok=True)

    def _path(self, level: int, rows: Rows) -> Path:
        first, last = rows[0], rows[-1]
        name = f"{first.song}.{first.window.start}-{last.song}.{last.window.start}"
        return self.folder / f"level_{level}_rows_{name}.safetensors"


def _parse_rows(text: str) -> Rows | None:
    """Return the rows of a batch from the metadata of its file; None if they are malformed."""
    try:
        spans = _ROWS.validate_json(text)
    except ValueError:
        return None
    return tuple(Span(song, Window(start, end, context), warms_up) for song, start, end, context, warms_up in spans)


def _are_level_codes(tensors: dict[str, torch.Tensor]) -> bool:
    """Return True for the tensors that `codes_to_tensors` makes."""
    tensors = dict(tensors)
    prices, avoided = tensors.pop("prices", None), tensors.pop("avoided", None)
    if not {_CODES, "filled"} <= set(tensors) <= {_CODES, "filled", "seams", "warm_ups"}:
        return False
    if not _are_prices(avoided, prices, tensors[_CODES]):
        return False
    codes, filled = tensors[_CODES], tensors["filled"]
    if not (_are_counts(codes, 2) and _are_counts(filled, 1) and len(codes) == len(filled) > 0):
        return False
    if filled.max() > codes.shape[1]:
        return False
    if len(tensors) == 2:
        return True
    if len(tensors) == 3 or not (_are_counts(tensors["seams"], 2) and _are_counts(tensors["warm_ups"], 1)):
        return False
    seams = tensors["seams"].long()
    if seams.shape[1] != 3 or len(seams) == 0:
        return False
    song, position, length = seams.T
    total = int(length.clamp_max(2**40).sum())
    is_within = bool((song < len(codes)).all() and (position < MOST_CODES).all() and (length <= position).all())
    return is_within and total == len(tensors["warm_ups"])


def _are_prices(avoided: torch.Tensor | None, prices: torch.Tensor | None, codes: torch.Tensor) -> bool:
    """Return True for the prices of codes that were excluded, by song and position."""
    if avoided is None or prices is None:
        return avoided is prices
    if not (_are_counts(avoided, 2) and avoided.shape == (len(prices), 2) and codes.dim() == 2):
        return False
    are_numbers = prices.dtype == torch.float32 and prices.dim() == 1 and bool((prices >= 0).all())
    limits = torch.tensor([len(codes), MOST_CODES], device="cpu")
    return are_numbers and len(prices) > 0 and bool((avoided < limits).all())


def _are_counts(tensor: torch.Tensor, dimensions: int) -> bool:
    """Return True for whole numbers of at least 0 in a tensor of that many dimensions."""
    if tensor.dtype not in (torch.int32, torch.int64) or tensor.dim() != dimensions:
        return False
    return tensor.numel() == 0 or int(tensor.min()) >= 0
