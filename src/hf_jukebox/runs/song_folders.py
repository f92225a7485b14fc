"""The folders of the songs of a batch: each is a run, which the batch writes until somebody changes it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ..files.atomic import FolderInUseError, locked
from ..sampling.known import KnownCodes
from ..sampling.request import SamplingRequest
from ..sampling.state import LevelCodes, SamplingState
from .contents import RunReader
from .names import REQUEST
from .record import RunStep, SongFolder, write_steps
from .storage import codes_path, write_codes

logger = logging.getLogger(__name__)


class SongFolders:
    """Writer of the song folders of a batch, which leaves alone those that the batch did not write last.

    Args:
        folder: Folder of the batch.
        step: Step of the batch.
    """

    def __init__(self, folder: Path, step: RunStep) -> None:
        self.folder, self.step = folder, step
        self._skipped: set[str] = set()

    @contextmanager
    def writing(self, part: SongFolder) -> Iterator[bool]:
        """Lock the folder of a song, and yield True if the batch may write it; otherwise one warning says why."""
        folder, problem = self.folder / part.name, ""
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
            except FolderInUseError:
                problem = "is in use by another process, so the batch leaves it as it is; resume the batch afterwards."
            if not problem and not self.may_write(part):
                problem = "holds more than the batch, which leaves it as it is; resume or continue it by itself."
            if problem and part.name not in self._skipped:
                self._skipped.add(part.name)
                logger.warning("%s %s", folder, problem)
            yield not problem

    def may_write(self, part: SongFolder) -> bool:
        """Return True if the folder of a song is new, or holds the run that this batch writes there."""
        if not (self.folder / part.name / REQUEST).exists():
            return True
        try:
            steps = RunReader.open(self.folder / part.name).steps
        except (OSError, ValueError):
            return False
        return len(steps) == 1 and _comparable(steps[0]) == _comparable(self._step_of(part, self.step.request))

    def write(self, part: SongFolder, state: SamplingState) -> None:
        """Write the finished levels of a song as a run; its lock is held.

        Levels of which the folder has as much already, as after a `resume_run` of the song alone, are left as they are.
        """
        run = RunReader(self.folder / part.name, [self._step_of(part, state.request)])
        present = _num_filled(self.folder / part.name, len(state.levels))
        for level, level_codes in enumerate(_song_levels(state, part, self.step.model.hop_lengths)):
            wanted = level_codes.num_filled
            has_all = len(present[level]) == len(wanted) and all(map(int.__ge__, present[level], wanted))
            if not has_all and (any(wanted) or any(level_codes.seams)):
                write_codes(codes_path(run.folder, level), level_codes, 0)
        write_steps(run.folder / REQUEST, run.steps)

    def _step_of(self, part: SongFolder, request: SamplingRequest) -> RunStep:
        """Return the step of a song's run."""
        rows, hops = slice(part.first, part.last + 1), self.step.model.hop_lengths
        known = [
            [min(given, part.top_codes * hops[-1] // hops[level]) for given in level_known[rows]]
            for level, level_known in enumerate(self.step.known)
        ]
        request = replace(request, songs=request.songs[rows], top_codes=part.top_codes)
        return RunStep.now(self.step.action, request, known, range(len(request.songs)), self.step.model)


def _comparable(step: RunStep) -> bytes:
    """Return what identifies a step, as a file holds it: all but its time, and what `resume_run` can change."""
    request = replace(step.request, max_batch_size=None)
    if request.avoid is not None:
        request = replace(request, avoid=replace(request.avoid, catalogue=""))
    return json.dumps(asdict(replace(step, begun="", request=request)), ensure_ascii=False).encode("utf-8", "replace")


def _num_filled(folder: Path, num_levels: int) -> list[list[int]]:
    """Return the codes that the run in a folder has per level and song; nothing for levels that cannot be read."""
    found: list[list[int]] = [[] for _ in range(num_levels)]
    if (folder / REQUEST).is_file():
        run = RunReader.open(folder)
        for level in range(num_levels):
            try:
                found[level] = run.read_level(level).lengths
            except (OSError, ValueError):
                continue
    return found


def _song_levels(state: SamplingState, part: SongFolder, hops: Sequence[int]) -> list[LevelCodes]:
    """Return the codes of some songs, cut to their length; unfinished levels keep only given codes."""
    rows = slice(part.first, part.last + 1)
    levels = []
    for level, level_codes in enumerate(state.levels):
        length = part.top_codes * hops[-1] // hops[level]
        num_given = [min(given, length) for given in level_codes.num_given[rows]]
        finished = level_codes.is_finished and level in state.request.levels
        num_filled = [length] * len(num_given) if finished else list(num_given)
        known = KnownCodes(
            level_codes.codes[rows, :length], num_filled, level_codes.seams[rows], level_codes.avoided[rows]
        )
        known = known.select(range(len(num_filled)))  # without seams and prices beyond the codes
        levels.append(LevelCodes(known.codes, num_given, num_filled, known.seams, known.avoided))
    return levels
