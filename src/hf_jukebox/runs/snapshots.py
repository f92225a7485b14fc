"""The windows in progress of a run, as files."""

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
from ..sampling.request import MOST_CODES, MOST_SONGS
from ..sampling.scheduler import Rows
from ..sampling.windows import Span, Window

_CODES = "codes"
_COPIES = 3  # of a window in progress that there are in memory while it is read
_Place = Annotated[int, Field(ge=0, le=MOST_CODES)]
_ROWS = TypeAdapter(
    Annotated[list[tuple[_Place, _Place, _Place, _Place, bool]], Field(min_length=1, max_length=MOST_SONGS)],
    config=ConfigDict(strict=True),
)


class SnapshotStore:
    """What the next codes of each group of rows depend on, in one file a group.

    Args:
        folder: Where they lie.
        step: The step that is drawn; those of other steps are of no use.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step
        self._mine: set[Path] = set()

    def write(self, level: int, snapshots: Mapping[Rows, Snapshot]) -> None:
        """Keep these groups, and no others that this process has read or written."""
        written = set()
        for rows, snapshot in snapshots.items():
            path = self._path(level, rows)
            places = json.dumps([[row.song, *astuple(row.window), row.warms_up] for row in rows])
            tensors = {_CODES: snapshot.codes.int(), **snapshot.tensors}
            write_tensors(path, tensors, {"step": self.step, "rows": places})
            written.add(path)
        for path in self._mine - written:
            path.unlink(missing_ok=True)
        self._mine = written

    def read(self, level: int) -> dict[Rows, Snapshot]:
        """The groups in progress at a level; whether they go with a prior is for its sampler to check.

        Raises:
            ValueError: one is damaged, or holds something else.
        """
        found = {}
        for path in sorted(self.folder.glob(f"level_{level}_*.safetensors")):
            tensors, metadata = read_tensors(path, most_bytes=free_bytes(torch.device("cpu")) // _COPIES)
            self._mine.add(path)
            if metadata.get("step") != str(self.step) or "rows" not in metadata:  # format 1 had no rows
                continue
            rows, codes = _rows(metadata["rows"]), tensors.pop(_CODES, None)
            if rows is None or codes is None or codes.dtype != torch.int32 or codes.shape[:-1] != (len(rows),):
                raise ValueError(f"{path} does not hold a window in progress; remove it to draw its part anew.")
            found[rows] = Snapshot(codes.long(), tensors)
        return found

    def clear(self, level: int) -> None:
        """Remove all of a level, whoever has written them."""
        for path in self.folder.glob(f"level_{level}_*.safetensors"):
            path.unlink(missing_ok=True)
        self._mine = set()

    def _path(self, level: int, rows: Rows) -> Path:
        first, last = rows[0], rows[-1]
        places = f"{first.song}.{first.window.start}-{last.song}.{last.window.start}"
        return self.folder / f"level_{level}_rows_{places}.safetensors"


def _rows(text: str) -> Rows | None:
    """The rows of a group as its file names them; None where it names none."""
    try:
        places = _ROWS.validate_json(text)
    except ValueError:
        return None
    return tuple(Span(song, Window(start, end, known), warms_up) for song, start, end, known, warms_up in places)
