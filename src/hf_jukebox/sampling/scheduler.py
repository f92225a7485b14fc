"""One level of a piece, drawn a group of rows at a time."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils.memory import clear_device_cache

from ..allocator import is_out_of_memory
from ..modeling_prior import JukeboxPrior
from .batch import BatchSampler, BatchTask, SampleCode, Snapshot, sample_code
from .logits import uniform_noise
from .request import SongConditioning
from .state import SamplingState
from .windows import Span, plan_windows

logger = logging.getLogger(__name__)

Rows = tuple[Span, ...]
# Makes the label rows of a window from the code of each row at which it starts.
LabelsOf = Callable[[Sequence[SongConditioning], Sequence[int]], torch.Tensor]


@dataclass
class _Group:
    """Rows that are drawn in step, and where they stand; None at their beginning."""

    rows: Rows
    snapshot: Snapshot | None = None


class LevelScheduler:
    """Draws one level of a piece, a group of rows at a time. Iterating yields the songs of each code drawn.

    A row is a song or, in parallel upsampling, a segment of one. The rows that take longest come first. When the
    device's memory does not suffice for a group, each part of it goes on from where the whole was.

    Args:
        piece: Its codes are kept up to date by `collect`.
        batch_size: How many rows a group has at most.
        labels_of: Gives label rows by songs and the codes at which their windows start; None without labels.
        started: Groups that an earlier run left in the middle; one without tensors goes on from its window's start.
        sample_code: Draws one code; a compiled one may be given.
        share: Which groups to draw, as (number of this process, number of processes).
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        piece: SamplingState,
        level: int,
        device: torch.device,
        batch_size: int,
        labels_of: LabelsOf | None = None,
        started: Mapping[Rows, Snapshot] | None = None,
        sample_code: SampleCode = sample_code,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.prior, self.piece, self.level, self.device = prior, piece, level, device
        self.batch_size, self.labels_of, self.sample_code, self.share = batch_size, labels_of, sample_code, share
        self.spans = piece.spans(level, prior.config)
        whole = all(row.length == piece.levels[level].total for row in self.spans)
        self.kind = "songs" if whole else "segments"
        started = {rows: snapshot for rows, snapshot in (started or {}).items() if set(rows) <= set(self.spans)}
        for rows, snapshot in started.items():
            self._take(rows, snapshot.codes)
        self._waiting: deque[_Group] = deque(self._groups(started)[share[0] :: share[1]])
        self.has_let_go = False
        self._finished: dict[Rows, Snapshot] = {}
        self._group: _Group | None = None
        self._sampler: BatchSampler | None = None
        self._weights: dict[int, float] = {}
        self._left_waiting = self._sum_of_waiting()
        self.to_sample = round(self.left)

    def __iter__(self) -> Iterator[range]:
        while self._waiting:
            group = self._waiting.popleft()
            if len(group.rows) > self.batch_size:
                self._split(group)
                continue
            self._begin(group)
            songs = range(min(row.song for row in group.rows), max(row.song for row in group.rows) + 1)
            try:
                self._sampler = BatchSampler(self.prior, self._task(group.rows), self._start(group), self.sample_code)
                for _ in self._sampler:
                    yield songs
                self._end()
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(group.rows) == 1:
                    raise MemoryError(
                        f"There is not enough memory to draw one {self.kind[:-1]} at level {self.level}; use a lower "
                        "precision such as dtype='float16', or enable_model_cpu_offload()."
                    ) from error
            # Out here nothing holds on to the tensors of the failed step any more.
            self._halve()

    @property
    def left(self) -> float:
        """Codes of this process's share that are still to be drawn; a warm-up is spread over the codes after it."""
        return self._left_waiting + self._left_of_group()

    @property
    def drawn(self) -> int:
        """Codes that have been drawn."""
        return self.to_sample - round(self.left)

    @property
    def done(self) -> int:
        """Codes that each of the songs has that are being drawn; where segments lie apart, all of a song's together."""
        of_level = self.piece.levels[self.level]
        if self.kind == "songs":
            return self._sampler.filled if self._sampler is not None else 0
        return of_level.total - round(self.left * self.share[1] / len(of_level.known))

    def collect(self) -> None:
        """Bring the piece up to date with what has been drawn."""
        if self._sampler is not None and self._group is not None:
            self._take(self._group.rows, self._sampler.task.codes[:, : self._sampler.filled].cpu())

    def results(self) -> dict[Span, torch.Tensor]:
        """What there is of each stretch, `[n]` codes from its start, for `add` in other processes."""
        of_level, found = self.piece.levels[self.level], {}
        for row in self.spans:
            codes = of_level.codes[row.song, row.window.start : min(of_level.filled[row.song], row.end)]
            if row.warms_up:
                if row.begin not in of_level.seams[row.song]:
                    continue
                warm_up = of_level.seams[row.song][row.begin]
                codes = torch.cat([warm_up, of_level.codes[row.song, row.begin : row.end]])
            found[row] = codes
        return found

    def add(self, results: Mapping[Span, torch.Tensor]) -> None:
        """Take over what another process has drawn."""
        for row, codes in results.items():
            self._take((row,), codes[None])

    def snapshots(self) -> dict[Rows, Snapshot]:
        """What a folder has to keep beside the codes: all groups that were begun, so that their rows stay together.

        Of a process that does not keep the codes, all that it has drawn.
        """
        groups = {group.rows: group.snapshot for group in self._waiting if group.snapshot is not None}
        if self._sampler is not None and self._group is not None:
            groups[self._group.rows] = self._sampler.snapshot()
        return groups | self._finished

    def let_go(self) -> dict[Rows, Snapshot]:
        """Give up the windows in progress for the memory that they take; return the codes of all groups begun."""
        self.collect()
        groups = {group.rows: group.snapshot.codes for group in self._waiting if group.snapshot is not None}
        groups |= {rows: snapshot.codes for rows, snapshot in self._finished.items()}
        if self._sampler is not None and self._group is not None:
            groups[self._group.rows] = self._sampler.task.codes[:, : self._sampler.filled].to("cpu", copy=True)
        self.has_let_go = True
        self._waiting.clear()
        self._finished.clear()
        self._group = self._sampler = None
        clear_device_cache(garbage_collection=True)
        return {rows: Snapshot(codes) for rows, codes in groups.items()}

    def _groups(self, started: Mapping[Rows, Snapshot]) -> list[_Group]:
        """What is left to draw: what was in the middle first, then what takes longest."""
        of_level = self.piece.levels[self.level]
        left = [row for row in self.spans if not of_level.has(row)]
        groups = []
        # A process that ended while it halved a group has left the whole beside a part, which is as good.
        for rows in sorted(started, key=len):
            kept = [n for n, row in enumerate(rows) if row in left]
            if kept:
                of_kept = started[rows][kept] if started[rows].tensors else None
                groups.append(_Group(tuple(rows[n] for n in kept), of_kept))
                left = [row for row in left if row not in rows]
        left.sort(key=lambda row: row.length - self._place((row,)), reverse=True)
        parts = [tuple(left[first : first + self.batch_size]) for first in range(0, len(left), self.batch_size)]
        return groups + [_Group(part) for part in parts]

    def _place(self, rows: Rows) -> int:
        """Codes of some rows that existed when the window was begun in which they stand."""
        of_level, n_ctx = self.piece.levels[self.level], self.prior.config.n_ctx
        known = min(of_level.existing_in(row) for row in rows)
        filled = min(of_level.filled[row.song] - row.window.start for row in rows)
        windows = plan_windows(rows[0].length, n_ctx, self.piece.request.hops[self.level], known)
        begins = [window.start + window.known for window in windows]
        return max((begin for begin in begins if begin <= filled), default=known)

    def _start(self, group: _Group) -> Snapshot:
        """Where a group stands when it is begun or gone on with."""
        if group.snapshot is not None:
            return group.snapshot
        codes, place = self.piece.levels[self.level].codes, self._place(group.rows)
        rows = [codes[row.song, row.window.start : row.window.start + place] for row in group.rows]
        return Snapshot(torch.stack(rows))

    def _task(self, rows: Rows) -> BatchTask:
        request, level, of_level = self.piece.request, self.level, self.piece.levels[self.level]
        songs, starts = [request.songs[row.song] for row in rows], [row.window.start for row in rows]
        noise = {n: uniform_noise([request.songs[n].key], level, of_level.total)[0] for n in {row.song for row in rows}}
        upper, labels_of = None, self.labels_of
        if self.prior.config.is_upsampler:
            codes, ratio = self.piece.levels[level + 1].codes, self.prior.config.upsampling_ratio
            upper = torch.stack([codes[row.song, row.window.start // ratio : -(-row.end // ratio)] for row in rows])
        return BatchTask(
            codes=torch.stack([of_level.codes[row.song, row.window.start : row.end] for row in rows]).to(self.device),
            known=[of_level.existing_in(row) for row in rows],
            hop=request.hops[level],
            noise=torch.stack([noise[row.song][row.window.start : row.end] for row in rows]).to(self.device),
            settings=request.settings[level],
            upper_codes=None if upper is None else upper.to(self.device),
            labels_at=None
            if labels_of is None
            else lambda start: labels_of(songs, [of_row + start for of_row in starts]),
        )

    def _take(self, rows: Rows, codes: torch.Tensor) -> None:
        of_level = self.piece.levels[self.level]
        for row, of_row in zip(rows, codes, strict=True):
            of_level.take(row, of_row)
        for row in self.spans:  # what was finished beyond a gap counts when the gap is closed
            if row.begin <= of_level.filled[row.song] < row.end and of_level.has(row):
                of_level.filled[row.song] = row.end

    def _begin(self, group: _Group) -> None:
        self._left_waiting = self._sum_of_waiting()
        self._group, self._weights = group, self._weights_of(group.rows)

    def _end(self) -> None:
        """The group at hand is finished."""
        self.collect()
        if self._sampler is not None and self._group is not None and self.share[0] > 0:
            self._finished[self._group.rows] = self._sampler.snapshot()
        self._group = self._sampler = None

    def _halve(self) -> None:
        """Go on with parts of the group at hand, from where it was when the memory ran out."""
        if self._group is None:
            return
        self.collect()
        rows = self._group.rows
        self.batch_size = -(-len(rows) // 2)
        self._split(self._group, self._sampler)
        self._group = self._sampler = None
        clear_device_cache(garbage_collection=True)
        logger.warning(
            "Memory does not suffice to draw %d %s at a time at level %d; going on with %d, nothing is lost.",
            len(rows),
            self.kind,
            self.level,
            self.batch_size,
        )

    def _split(self, group: _Group, sampler: BatchSampler | None = None) -> None:
        """Have parts of a group sampled next, each from where the whole stands.

        Where a copy of that does not fit into memory either, they begin at their window's start, with the same codes.
        """
        firsts = range(0, len(group.rows), self.batch_size)
        parts: list[Snapshot | None] = [None for _ in firsts]
        try:
            whole = group.snapshot if sampler is None else sampler.snapshot()
            if whole is not None:
                parts = [whole[first : first + self.batch_size] for first in firsts]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        for first, part in reversed(list(zip(firsts, parts, strict=True))):
            self._waiting.appendleft(_Group(group.rows[first : first + self.batch_size], part))
        self._left_waiting = self._sum_of_waiting()

    # How much is left ----------------------------------------------------------------------------------------------

    def _weights_of(self, rows: Rows) -> dict[int, float]:
        """How many kept codes each step stands for, by the number of codes from which on it does."""
        weights: dict[int, float] = defaultdict(float)
        for row in rows:
            existing = self.piece.levels[self.level].existing_in(row)
            weights[existing] += (row.end - row.begin) / (row.length - existing)
        return dict(weights)

    def _sum_of_waiting(self) -> float:
        return sum(self._left_in(group) for group in self._waiting)

    def _left_in(self, group: _Group) -> float:
        filled = self._place(group.rows) if group.snapshot is None else group.snapshot.filled
        return _left(self._weights_of(group.rows), group.rows[0].length, filled)

    def _left_of_group(self) -> float:
        if self._group is None or self._sampler is None:
            return 0.0
        return _left(self._weights, self._group.rows[0].length, self._sampler.filled)


def _left(weights: Mapping[int, float], length: int, filled: int) -> float:
    return sum(weight * (length - max(filled, existing)) for existing, weight in weights.items())
