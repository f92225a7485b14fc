"""The list of runs, which every open page asks for all the time, beside the sampling."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..runs.contents import RunReader
from ..runs.names import REQUEST
from .schemas import Job
from .store import JOB, RunStore
from .view import brief, state_of
from .worker import Worker

_Stamps = list[tuple[int, int, int] | None]


@dataclass(frozen=True)
class _Read:
    """What was read of a run, from files that had these stamps; without its job, the reason why it cannot be."""

    paths: list[str]
    stamps: _Stamps
    job: Job | None
    run: RunReader | None = None
    complete: frozenset[int] = frozenset()
    error: str = ""


class RunList:
    """List of the runs of a store, which reads again only the files that have changed.

    Args:
        store: The runs.
        worker: The thread that samples them.
    """

    def __init__(self, store: RunStore, worker: Worker) -> None:
        self.store, self.worker = store, worker
        self._reads: dict[str, _Read] = {}

    def views(self) -> list[dict[str, Any]]:
        """Return the runs, the newest first, those that cannot be read with the reason."""
        ids = self.store.ids()
        before = self._reads
        self._reads = {run_id: before[run_id] for run_id in ids if run_id in before}
        return [self._view(run_id) for run_id in ids]

    def _view(self, run_id: str) -> dict[str, Any]:
        try:
            read = self._reads.get(run_id)
            if read is None or read.stamps != _stamps(read.paths):
                read = self._reads[run_id] = self._read(run_id)
            if read.job is not None:
                job = self.store.unwritten(run_id) or read.job
                state = state_of(run_id, job, read.run, self.worker, read.complete)
                return brief(run_id, job, state) | {"place": self.worker.place(run_id)}
            error = read.error
        except OSError as failure:
            error = str(failure)
        return {"id": run_id, "title": run_id, "state": "damaged", "error": error, "place": None}

    def _read(self, run_id: str) -> _Read:
        paths = [os.path.join(self.store.folder, run_id, name) for name in (JOB, REQUEST)]
        stamps = _stamps(paths)  # before they are read
        try:
            job, run = self.store.job(run_id), self.store.open(run_id)
        except ValueError as error:
            return _Read(paths, stamps, None, error=str(error))
        if run is None:
            return _Read(paths, stamps, job)
        songs, levels = range(len(run.request.songs)), range(len(run.step.known))
        audio = [str(run.audio_path(level, song)) for level in levels for song in songs]
        stamps += _stamps(audio)
        return _Read([*paths, *audio], stamps, job, run, frozenset(run.audio_paths()))


def _stamps(paths: Iterable[str]) -> _Stamps:
    """Return values that change whenever files are written; None for one that is not there."""
    stamps: _Stamps = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return stamps
