"""A batch of songs while it is drawn: the codes of every level, and one level drawn a group of songs at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..modeling_prior import JukeboxPrior
from ..system import System
from .draw import uniform_noise
from .known import KnownCodes
from .level import DrawCode, LevelSampler, LevelTask, Snapshot, draw_code
from .request import SamplingRequest, Song
from .windows import plan_windows

logger = logging.getLogger(__name__)

LabelsOf = Callable[[Sequence[Song]], Callable[[int], torch.Tensor]]


@dataclass
class LevelCodes:
    """Codes of one level: what was known of them, and what has been drawn.

    Args:
        codes: `[N, total]` on the CPU; for a level that is not drawn, as long as what is known.
        known: How many codes were given, one number a song.
        filled: How many there are by now, one number a song.
    """

    codes: torch.Tensor
    known: list[int]
    filled: list[int]

    @property
    def total(self) -> int:
        return self.codes.shape[1]

    @property
    def left(self) -> int:
        """Codes of all songs that are still to be drawn."""
        return sum(self.total - filled for filled in self.filled)

    @property
    def is_finished(self) -> bool:
        return min(self.filled) == self.total

    @property
    def existing(self) -> torch.Tensor:
        """What every song has, `[N, shortest]`."""
        return self.codes[:, : min(self.filled)]


@dataclass
class Piece:
    """A request and its codes at every level, finest first."""

    request: SamplingRequest
    levels: list[LevelCodes]
    batch_size: int

    @classmethod
    def begin(cls, request: SamplingRequest, known: Sequence[KnownCodes], system: System) -> Piece:
        """Room for all that a request draws, with the known codes in front.

        Raises:
            ValueError: a level is drawn under one that is neither drawn nor known for the whole piece.
        """
        levels = []
        for level, of_level in enumerate(known):
            total = system.codes(level, request.top_codes) if level in request.levels else of_level.codes.shape[1]
            codes = torch.zeros(len(request.songs), total, dtype=torch.long)
            codes[:, : of_level.codes.shape[1]] = of_level.codes
            levels.append(LevelCodes(codes, list(of_level.lengths), list(of_level.lengths)))
        for level in request.levels:
            above = level + 1
            if above == len(levels) or above in request.levels:
                continue
            if min(levels[above].filled) < system.codes(above, request.top_codes):
                raise ValueError(
                    f"Level {level} is drawn from the codes of level {above}, which are missing or too short; add "
                    f"{above} to levels, or give its codes for the whole piece."
                )
        return cls(request, levels, request.batch_size)

    @property
    def left(self) -> int:
        """Codes of all songs and levels that are still to be drawn."""
        return sum(self.levels[level].left for level in self.request.levels)


class LevelDrawing:
    """Draws one level of a piece, a group of songs at a time. Iterating yields the songs of each code drawn.

    When the device's memory does not suffice for a group, it goes on with each half of it from where the whole was.

    Args:
        piece: Its codes are kept up to date by `collect`.
        labels_of: Gives the label rows of some songs by the code at which a window starts; None without labels.
        started: Groups of songs that an earlier run left in the middle, by the songs' numbers.
        draw_code: Draws one code; a compiled one may be given.
        share: Which groups to draw, as (number of this process, number of processes).
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        piece: Piece,
        level: int,
        device: torch.device,
        labels_of: LabelsOf | None = None,
        started: Mapping[range, Snapshot] | None = None,
        draw_code: DrawCode = draw_code,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.prior, self.piece, self.level, self.device = prior, piece, level, device
        self.labels_of, self.draw_code = labels_of, draw_code
        groups = list(self._groups(started or {}))
        self._waiting: deque[tuple[range, Snapshot]] = deque(groups[share[0] :: share[1]])
        self._songs: range | None = None
        self._sampler: LevelSampler | None = None

    def __iter__(self) -> Iterator[range]:
        while self._waiting:
            songs, snapshot = self._waiting.popleft()
            if len(songs) > self.piece.batch_size:
                self._split(songs, snapshot, self.piece.batch_size)
                continue
            try:
                self._songs = songs
                self._sampler = LevelSampler(self.prior, self._task(songs), snapshot, self.draw_code)
                for _ in self._sampler:
                    yield songs
                self.collect()
                self._songs = self._sampler = None
                continue
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if len(songs) == 1:
                    raise MemoryError(
                        f"There is not enough memory to draw one song at level {self.level}; use a lower precision "
                        "such as dtype='float16', or enable_model_cpu_offload()."
                    ) from error
            # Out here nothing holds on to the tensors of the failed step any more.
            self._halve(songs, snapshot)

    @property
    def filled(self) -> int:
        """How many codes the songs that are being drawn have."""
        return self._sampler.filled if self._sampler is not None else 0

    @property
    def new(self) -> int:
        """How many codes the last step added to the piece; what a prompt or a resumed run has is not new."""
        of_level = self.piece.levels[self.level]
        return sum(self.filled > of_level.filled[song] for song in self._songs or ())

    def collect(self) -> None:
        """Bring the piece up to date with what has been drawn."""
        if self._sampler is None or self._songs is None:
            return
        of_level, filled = self.piece.levels[self.level], self._sampler.filled
        since = min(of_level.filled[song] for song in self._songs)
        rows = slice(self._songs.start, self._songs.stop)
        of_level.codes[rows, since:filled] = self._sampler.task.codes[:, since:filled].cpu()
        for song in self._songs:
            of_level.filled[song] = max(of_level.filled[song], filled)

    def snapshots(self) -> dict[range, Snapshot]:
        """All groups that are in the middle of a window, by the songs' numbers."""
        groups = dict(self._waiting)
        if self._sampler is not None and self._songs is not None:
            groups[self._songs] = self._sampler.snapshot()
        return {songs: snapshot for songs, snapshot in groups.items() if snapshot.tensors}

    def _groups(self, started: Mapping[range, Snapshot]) -> Iterator[tuple[range, Snapshot]]:
        """The songs that are left to draw, in groups, each with where it begins."""
        of_level = self.piece.levels[self.level]
        song = 0
        while song < len(of_level.filled):
            group = next((songs for songs in started if songs.start == song), None)
            if group is not None:
                yield group, started[group]
            else:
                stop = min([song + self.piece.batch_size, *(songs.start for songs in started if songs.start > song)])
                group = range(song, min(stop, len(of_level.filled)))
                if any(of_level.filled[each] < of_level.total for each in group):
                    yield group, Snapshot(self._window_start(group))
            song = group.stop

    def _window_start(self, songs: range) -> int:
        """Codes that existed when the window was begun in which the songs stand."""
        of_level, n_ctx = self.piece.levels[self.level], self.prior.config.n_ctx
        known = min(of_level.known[song] for song in songs)
        filled = min(of_level.filled[song] for song in songs)
        windows = plan_windows(of_level.total, n_ctx, self.piece.request.hops[self.level], known)
        return max(window.start + window.known for window in windows if window.start + window.known <= filled)

    def _task(self, songs: range) -> LevelTask:
        request, level, rows = self.piece.request, self.level, slice(songs.start, songs.stop)
        of_level, device = self.piece.levels[level], self.device
        keys = [song.key for song in request.songs[rows]]
        upper = self.piece.levels[level + 1].codes[rows] if self.prior.config.is_upsampler else None
        return LevelTask(
            codes=of_level.codes[rows].to(device),
            known=of_level.known[rows],
            hop=request.hops[level],
            noise=uniform_noise(keys, level, of_level.total).to(device),
            settings=request.settings[level],
            upper_codes=None if upper is None else upper.to(device),
            labels_at=None if self.labels_of is None else self.labels_of(request.songs[rows]),
        )

    def _halve(self, songs: range, snapshot: Snapshot) -> None:
        """Go on with halves of a group, from where the group was when the memory ran out."""
        self.collect()
        if self._sampler is not None:
            snapshot = self._sampler.snapshot()
        self._sampler = self._songs = None
        clear_device_cache(garbage_collection=True)
        self.piece.batch_size = -(-len(songs) // 2)
        logger.warning(
            "Memory does not suffice to draw %d songs at a time at level %d; going on with %d, nothing is lost.",
            len(songs),
            self.level,
            self.piece.batch_size,
        )
        self._split(songs, snapshot, self.piece.batch_size)

    def _split(self, songs: range, snapshot: Snapshot, size: int) -> None:
        parts = [songs[start : start + size] for start in range(0, len(songs), size)]
        for part in reversed(parts):
            within = slice(part.start - songs.start, part.stop - songs.start)
            self._waiting.appendleft((part, snapshot[within]))
