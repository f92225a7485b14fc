"""One level, sampled a batch of rows at a time.

A level's codes live in three places. While a batch is sampled they are on the device, in a `BatchSampler`;
`sync_to_state` copies them to the `SamplingState` on the CPU; `JukeboxRun.save` writes those to the run folder. Call
`sync_to_state` before anything reads the state.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from accelerate.utils.memory import clear_device_cache

from ..allocator import is_out_of_memory
from ..memory.batch_size import memory_advice
from ..modeling_prior import JukeboxPrior
from .avoiding import Guard, LevelAvoidance, segment_longest
from .batch import BatchSampler, BatchTask, Snapshot
from .logits import uniform_noise
from .state import SamplingState
from .step_runner import StepRunner
from .window_labels import WindowLabels
from .windows import Span, plan_windows, split_evenly

logger = logging.getLogger(__name__)

Rows = tuple[Span, ...]


@dataclass
class _Batch:
    """Rows that are sampled in lockstep, and the snapshot to resume them from; None for a batch not yet started."""

    rows: Rows
    snapshot: Snapshot | None = None


class LevelScheduler:
    """Sampler of one level of a state, a batch of rows at a time. Iterating yields the songs of each code sampled.

    A row is a song or, in parallel upsampling, a segment of one. The longest rows come first. When the device runs out
    of memory, a batch is halved, and each half resumes from where the whole batch was.

    Args:
        state: The songs and their codes, updated by `sync_to_state`.
        batch_size: Maximum rows per batch.
        labels: Label rows of windows; None for a prior without labels.
        started: Batches that an earlier run left unfinished; a snapshot without tensors resumes at its window's start.
        steps: Source of the steps; may compile them.
        share: `(rank, number of processes)`; each process samples its share of the batches.
        avoidance: Catalogue to avoid; None for free sampling.

    Attributes:
        kind: `"songs"` or `"segments"`, the meaning of a row.
        num_to_sample: Codes that this process samples, warm-ups included.
        num_sampled: Codes sampled so far, of those.
        is_released: True after `release`, when nothing is left to sample or to save.
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        state: SamplingState,
        level: int,
        device: torch.device,
        batch_size: int,
        labels: WindowLabels | None = None,
        started: Mapping[Rows, Snapshot] | None = None,
        steps: StepRunner | None = None,
        share: tuple[int, int] = (0, 1),
        avoidance: LevelAvoidance | None = None,
    ) -> None:
        self.prior, self.state, self.level, self.device = prior, state, level, device
        self.batch_size, self.labels, self.share = batch_size, labels, share
        self.steps, self.avoidance = steps or StepRunner(), avoidance
        self.level_codes = state.levels[level]
        self.spans = state.spans(level, prior.config)
        whole = all(row.length == self.level_codes.length for row in self.spans)
        self.kind = "songs" if whole else "segments"
        started = {rows: snapshot for rows, snapshot in (started or {}).items() if set(rows) <= set(self.spans)}
        for rows, snapshot in started.items():
            self._write(rows, snapshot.codes)
        self._waiting: deque[_Batch] = deque(self._batches(started)[share[0] :: share[1]])
        self._finished: dict[Rows, Snapshot] = {}
        self.is_released = False
        self._batch: _Batch | None = None
        self._sampler: BatchSampler | None = None
        self.num_to_sample = sum(map(self._num_left, self._waiting))
        self.num_sampled = 0
        self._num_total = sum(row.length - self.level_codes.num_given_in(row) for row in self.spans)

    def __iter__(self) -> Iterator[range]:
        while self._waiting:
            batch = self._waiting.popleft()
            if len(batch.rows) > self.batch_size:
                if remark := self._precision_remark:
                    logger.warning(
                        "A batch of %d is resumed with %d at a time.%s", len(batch.rows), self.batch_size, remark
                    )
                self._split(batch)
                continue
            self._batch = batch
            songs = range(min(row.song for row in batch.rows), max(row.song for row in batch.rows) + 1)
            given = sorted(self.level_codes.num_given_in(row) for row in batch.rows)
            try:
                snapshot = self._initial_snapshot(batch)
                self._sampler = BatchSampler(self.prior, self._task(batch.rows), snapshot, self.steps)
                for filled in self._sampler:
                    self.num_sampled += bisect_left(given, filled)  # the other rows still copy given codes
                    yield songs
                self._finish_batch()
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch.rows) == 1:
                    raise MemoryError(
                        f"There is not enough memory to sample one {self.kind[:-1]} at level {self.level}; "
                        f"{memory_advice(self.prior)}."
                    ) from error
            # Outside the except block nothing references the failed step's tensors.
            self._halve()

    @property
    def num_filled(self) -> int:
        """Codes that each song in progress has; for segments an average over all songs."""
        if self.kind == "songs":
            return self._sampler.filled if self._sampler is not None else 0
        num_left = (self.num_to_sample - self.num_sampled) * self.share[1]  # other processes have about as many left
        num_given, length = self.level_codes.num_given, self.level_codes.length
        num_missing = length - sum(num_given) / len(num_given)  # per song, before anything is sampled
        return length - round(num_left / self._num_total * num_missing)

    def num_filled_in(self, song: int) -> int:
        """Return the codes that a song has from its start, those included that `sync_to_state` has yet to copy."""
        filled = self.level_codes.num_filled[song]
        if self._sampler is not None and self._batch is not None:
            for row in self._batch.rows:
                if row.song == song and row.begin <= filled and not row.warms_up:
                    filled = max(filled, row.window.start + self._sampler.filled)
        return filled

    def sync_to_state(self) -> None:
        """Copy the codes sampled so far from the device to the state."""
        if self._sampler is not None and self._batch is not None:
            self._write(self._batch.rows, self._sampler.codes().cpu())
            if self._sampler.task.guard is not None:
                for row, prices in zip(self._batch.rows, self._sampler.task.guard.prices, strict=True):
                    self.level_codes.note_prices(row, prices)

    def finished_codes(self) -> dict[Span, torch.Tensor]:
        """Return the codes `[n]` that each span has, from its start, for `merge` in other processes."""
        level_codes, found = self.level_codes, {}
        for row in self.spans:
            codes = level_codes.codes[row.song, row.window.start : min(level_codes.num_filled[row.song], row.end)]
            if row.warms_up:
                seam = level_codes.seam_at(row)
                if seam is None:
                    continue
                codes = torch.cat([seam.warm_up, level_codes.codes[row.song, row.begin : row.end]])
            found[row] = codes
        return found

    def merge(self, codes: Mapping[Span, torch.Tensor]) -> None:
        """Store codes that another process has sampled."""
        self._write(tuple(codes), list(codes.values()))

    def snapshots(self, in_background: bool = False) -> dict[Rows, Snapshot]:
        """Return snapshots of every batch that was started, so that its rows stay together when the run is resumed.

        On processes other than the main one, which saves the codes: of everything they have sampled.

        Args:
            in_background: Return before a CUDA device has copied the batch in progress; wait for each snapshot.
        """
        batches = {batch.rows: batch.snapshot for batch in self._waiting if batch.snapshot is not None}
        if self._sampler is not None and self._batch is not None:
            batches[self._batch.rows] = self._sampler.snapshot(in_background)
        return batches | self._finished

    def release(self) -> dict[Rows, Snapshot]:
        """Free the windows in progress; return snapshots without tensors of all batches that were started."""
        self.sync_to_state()
        codes = {batch.rows: batch.snapshot.codes for batch in self._waiting if batch.snapshot is not None}
        codes |= {rows: snapshot.codes for rows, snapshot in self._finished.items()}
        if self._sampler is not None and self._batch is not None:
            codes[self._batch.rows] = self._sampler.codes().to("cpu", copy=True)
        self.is_released = True
        self._waiting.clear()
        self._finished.clear()
        self._batch = self._sampler = None
        self.steps.release()
        clear_device_cache(garbage_collection=True)
        return {rows: Snapshot(row_codes) for rows, row_codes in codes.items()}

    # Batches -------------------------------------------------------------------------------------------------------

    def _batches(self, started: Mapping[Rows, Snapshot]) -> list[_Batch]:
        """Return the batches left to sample: unfinished ones first, then by length, the longest first."""
        left = [row for row in self.spans if not self.level_codes.is_sampled(row)]
        batches = []
        # A process killed while splitting a batch may leave both the batch and a part of it; either can be used.
        for rows in sorted(started, key=len):
            kept = [n for n, row in enumerate(rows) if row in left]
            if kept:
                snapshot = started[rows][kept] if started[rows].tensors else None
                batches.append(_Batch(tuple(rows[n] for n in kept), snapshot))
                left = [row for row in left if row not in rows]
        left.sort(key=lambda row: row.length - self._resume_position((row,)), reverse=True)
        return batches + [_Batch(part) for part in split_evenly(left, self.batch_size)]

    def _num_left(self, batch: _Batch) -> int:
        """Return how many codes a batch still samples, over its rows."""
        filled = self._resume_position(batch.rows) if batch.snapshot is None else batch.snapshot.filled
        return sum(row.length - max(filled, self.level_codes.num_given_in(row)) for row in batch.rows)

    def _resume_position(self, rows: Rows) -> int:
        """Return the number of codes that were available when the current window of these rows started."""
        num_given = min(self.level_codes.num_given_in(row) for row in rows)
        num_filled = min(self.level_codes.num_filled[row.song] - row.window.start for row in rows)
        hop = self.state.request.hops[self.level]
        windows = plan_windows(rows[0].length, self.prior.config.n_ctx, hop, num_given)
        begins = [window.start + window.context for window in windows]
        return max((begin for begin in begins if begin <= num_filled), default=num_given)

    def _initial_snapshot(self, batch: _Batch) -> Snapshot:
        """Return the snapshot from which a batch starts or resumes."""
        if batch.snapshot is not None:
            return batch.snapshot
        position = self._resume_position(batch.rows)
        codes = self.level_codes.codes
        rows = [codes[row.song, row.window.start : row.window.start + position] for row in batch.rows]
        return Snapshot(torch.stack(rows))

    def _task(self, rows: Rows) -> BatchTask:
        request, level, length = self.state.request, self.level, self.level_codes.length
        songs, starts = [request.songs[row.song] for row in rows], [row.window.start for row in rows]
        noise = {
            song: uniform_noise([request.songs[song].key], level, length)[0] for song in {row.song for row in rows}
        }
        upper, labels = None, self.labels
        if self.prior.config.is_upsampler:
            codes, ratio = self.state.levels[level + 1].codes, self.prior.config.upsampling_ratio
            upper = torch.stack([codes[row.song, row.window.upper(ratio)] for row in rows])

        def labels_at(start: int) -> torch.Tensor:
            assert labels is not None
            return labels.for_songs(songs, [row_start + start for row_start in starts]).to(self.device)

        return BatchTask(
            codes=torch.stack([self.level_codes.codes[row.song, row.window.start : row.end] for row in rows]).to(
                self.device
            ),
            num_given=[self.level_codes.num_given_in(row) for row in rows],
            hop=request.hops[level],
            noise=torch.stack([noise[row.song][row.window.start : row.end] for row in rows]).to(self.device),
            settings=request.settings[level],
            upper_codes=None if upper is None else upper.to(self.device),
            labels_at=None if labels is None else labels_at,
            guard=self._guard(rows),
        )

    def _guard(self, rows: Rows) -> Guard | None:
        """Return the guard of a batch; None for free sampling."""
        if self.avoidance is None:
            return None
        longest, config, level_codes = self.avoidance.longest, self.prior.config, self.level_codes
        if self.state.request.upsampling == "parallel" and config.is_upsampler:
            longest = segment_longest(longest, config.n_ctx, config.upsampling_ratio)
        # A segment may continue a prompt that begins before it; segments do not see what others sample.
        ends = [row.window.start if level_codes.num_given[row.song] >= row.window.start else 0 for row in rows]
        earlier = [level_codes.codes[row.song, :end].numpy() for row, end in zip(rows, ends, strict=True)]
        return self.avoidance.guard(longest, earlier)

    def _write(self, rows: Rows, codes: torch.Tensor | Sequence[torch.Tensor]) -> None:
        level_codes = self.level_codes
        for row, row_codes in zip(rows, codes, strict=True):
            level_codes.write(row, row_codes)
        for row in self.spans:  # segments finished beyond a gap count once the gap is closed
            if row.begin <= level_codes.num_filled[row.song] < row.end and level_codes.is_sampled(row):
                level_codes.num_filled[row.song] = row.end

    def _finish_batch(self) -> None:
        self.sync_to_state()
        if self._sampler is not None and self._batch is not None and self.share[0] > 0:
            self._finished[self._batch.rows] = self._sampler.snapshot()
        self._batch = self._sampler = None

    def _halve(self) -> None:
        """Split the current batch, from where it was when the memory ran out."""
        if self._batch is None:
            return
        self.sync_to_state()
        rows = self._batch.rows
        self.batch_size = -(-len(rows) // 2)
        self._split(self._batch, self._sampler)
        self._batch = self._sampler = None
        self.steps.release()
        clear_device_cache(garbage_collection=True)
        logger.warning(
            "Out of memory with %d %s at level %d; retrying with %d at a time. No progress was lost.%s",
            len(rows),
            self.kind,
            self.level,
            self.batch_size,
            self._precision_remark,
        )

    @property
    def _precision_remark(self) -> str:
        """The consequence of another batch size in half precision; empty in float32."""
        dtype = self.prior.transformer.dtype
        if dtype in (torch.float32, torch.float64):
            return ""
        return f" In {str(dtype).removeprefix('torch.')} the next codes depend on the number at a time."

    def _split(self, batch: _Batch, sampler: BatchSampler | None = None) -> None:
        """Queue parts of a batch, each to resume where the whole stands.

        Where a snapshot does not fit into memory, parts restart their window, with the same codes; `num_to_sample`
        then counts those codes again.
        """
        parts = split_evenly(batch.rows, self.batch_size)
        snapshots: list[Snapshot | None] = [None for _ in parts]
        try:
            whole = batch.snapshot if sampler is None else sampler.snapshot()
            if whole is not None:
                ends = list(accumulate(map(len, parts)))
                snapshots = [whole[end - len(rows) : end] for rows, end in zip(parts, ends, strict=True)]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        for rows, snapshot in reversed(list(zip(parts, snapshots, strict=True))):
            self._waiting.appendleft(_Batch(rows, snapshot))
        self.num_to_sample = self.num_sampled + sum(map(self._num_left, self._waiting))
