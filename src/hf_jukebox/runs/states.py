"""The windows in progress of a run, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

from ..sampling.level import Snapshot
from ..sampling.scheduler import Rows
from ..sampling.windows import Stretch, Window
from ..tensor_files import read_tensors, write_tensors

_CODES = "codes"


class States:
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
        """The groups in progress at a level.

        Raises:
            ValueError: one is damaged.
        """
        found = {}
        for path in sorted(self.folder.glob(f"level_{level}_*.safetensors")):
            tensors, metadata = read_tensors(path)
            self._mine.add(path)
            if int(metadata["step"]) != self.step or "rows" not in metadata:  # format 1 had no rows
                continue
            rows = tuple(
                Stretch(song, Window(start, end, known), warms_up)
                for song, start, end, known, warms_up in json.loads(metadata["rows"])
            )
            found[rows] = Snapshot(tensors.pop(_CODES).long(), tensors)
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
