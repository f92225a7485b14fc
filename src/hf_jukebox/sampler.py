"""Sampling of one level with the parts of a pipeline, saved to the run folder as it goes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from .allocator import is_out_of_memory
from .catalogue.folder import AnyCatalogue
from .memory.batch_size import fitting_batch_size, window_bytes
from .modeling_prior import JukeboxPrior
from .pipeline_parts import JukeboxParts
from .runs.checkpoint_writer import CheckpointWriter
from .runs.folder import JukeboxRun
from .sampling.avoiding import LevelAvoidance
from .sampling.batch import Snapshot, is_snapshot_of
from .sampling.processes import all_gather_objects, on_main_process, process_rank
from .sampling.scheduler import LevelScheduler, Rows
from .sampling.state import SamplingState
from .sampling.step_runner import StepRunner
from .sampling.window_labels import WindowLabels
from .sampling.windows import Span

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplingProgress:
    """Progress of a run, after a code of some songs has been sampled.

    Codes to sample count the warm-ups of segments; with several processes they are those of this process.

    Attributes:
        level: Level in progress.
        songs: Songs in progress, from the first to the last.
        filled: Codes that each of `songs` has at this level; in parallel upsampling all segments of a song together.
        length: Codes that each song has at the end.
        codes_per_second: Codes of this level per second of music.
        level_sampled, level_to_sample: Codes sampled at this level by this call, and those it samples in total.
        sampled, to_sample: The same, over all levels.
    """

    level: int
    songs: range
    filled: int
    length: int
    codes_per_second: float
    level_sampled: int
    level_to_sample: int
    sampled: int
    to_sample: int


ProgressCallback = Callable[[SamplingProgress], bool | None]
"""Called after every code; sampling stops when it returns False."""


@dataclass
class CodeSampler:
    """Sampler of the levels of a state.

    With a `run`, the codes and the windows in progress are written to its folder every few seconds, by a thread, and
    when sampling ends, however it ends.

    Args:
        parts: The pipeline whose priors are used.
        steps: Source of the decode steps.
        num_sampled: Codes sampled by this object, over all levels.
        catalogue: Catalogue that the request avoids.
    """

    parts: JukeboxParts
    steps: StepRunner = field(default_factory=StepRunner)
    num_sampled: int = 0
    catalogue: AnyCatalogue | None = None

    def iter_level(
        self, state: SamplingState, level: int, run: JukeboxRun | None = None, callback: ProgressCallback | None = None
    ) -> Iterator[LevelScheduler]:
        """Sample the missing codes of a level, yielding the scheduler after each of them.

        The level is left unfinished when the callback returns False. The state is up to date at the end, and after
        `sync_to_state` of the scheduler.

        Raises:
            MemoryError: one song does not fit into memory, or its window could not be saved; the run can be resumed.
            OSError: the run cannot be written; what it held before can be resumed.
        """
        prior = self.parts.priors[level]
        if prior is None:
            raise ValueError(f"Level {level} has no prior in this pipeline.")
        self.parts.load_part(prior)
        scheduler = self._scheduler(prior, state, level, {} if run is None else run.snapshots(level))
        left_below = self._num_left_below(state, level)
        level_codes, rate = state.levels[level], prior.config.codes_per_second
        writer = CheckpointWriter(scheduler.batch_size * window_bytes(prior))
        before = self.num_sampled
        with self.parts.progress_bar(total=scheduler.num_to_sample) as bar:
            bar.set_description(f"level {level}")
            bar.unit = " codes"
            try:
                for songs in scheduler:
                    bar.total = scheduler.num_to_sample  # it grows when running out of memory restarts a window
                    bar.update(before + scheduler.num_sampled - self.num_sampled)
                    self.num_sampled = before + scheduler.num_sampled
                    if run is not None and writer.is_due:
                        self._start_saving(scheduler, run, writer)
                    if callback is not None:
                        progress = SamplingProgress(
                            level=level,
                            songs=songs,
                            filled=scheduler.num_filled,
                            length=level_codes.length,
                            codes_per_second=rate,
                            level_sampled=scheduler.num_sampled,
                            level_to_sample=scheduler.num_to_sample,
                            sampled=self.num_sampled,
                            to_sample=before + scheduler.num_to_sample + left_below,
                        )
                        if callback(progress) is False:
                            break
                    yield scheduler
            finally:
                writer.finish()
                self._save(scheduler, run)
                self.steps.release()  # the next level needs its memory, and weights may change between two calls

        if process_rank()[1] > 1:
            for codes in all_gather_objects(scheduler.finished_codes()):
                scheduler.merge(codes)
            if run is not None and run.is_owner:
                self._save(scheduler, run)

    def _scheduler(
        self, prior: JukeboxPrior, state: SamplingState, level: int, started: dict[Rows, Snapshot]
    ) -> LevelScheduler:
        """Build the scheduler for this process's share of a level."""
        level_codes, (rank, num_processes) = state.levels[level], process_rank()
        for batch_rows, snapshot in started.items():
            if not is_snapshot_of(snapshot, prior, len(batch_rows), batch_rows[0].length):
                raise ValueError(
                    f"The run holds a window in progress that does not fit the prior of level {level}; remove the "
                    "files in its folder 'state', and the window is sampled from its start."
                )
        # Processes agree on which batches were started; each reads its own snapshots.
        begun = on_main_process(lambda: {rows: snapshot.codes for rows, snapshot in started.items()})
        snapshots = {rows: started.get(rows, Snapshot(codes)) for rows, codes in begun.items()}
        rows = [row for row in state.spans(level, prior.config) if not level_codes.is_sampled(row)]
        return LevelScheduler(
            prior,
            state,
            level,
            self.parts.execution_device,
            self._batch_size(state, prior, rows, num_processes),
            self._window_labels(prior),
            snapshots,
            self.steps,
            share=(rank, num_processes),
            avoidance=self._avoidance(state, level),
        )

    def _avoidance(self, state: SamplingState, level: int) -> LevelAvoidance | None:
        avoid = state.request.avoid
        if avoid is None or not avoid.longest[level]:
            return None
        assert self.catalogue is not None
        return LevelAvoidance(self.catalogue, level, avoid.longest[level])

    def _window_labels(self, prior: JukeboxPrior) -> WindowLabels | None:
        if not prior.config.has_labels:
            return None
        if self.parts.tokenizer is None:
            raise ValueError(f"The prior of level {prior.config.level} has labels; give the pipeline a tokenizer.")
        return WindowLabels(self.parts.tokenizer, prior.config)

    def _batch_size(self, state: SamplingState, prior: JukeboxPrior, rows: list[Span], num_processes: int) -> int:
        """Return how many rows to sample at a time: no more than the request allows, and memory probably holds."""
        limit, share = state.request.max_batch_size, -(-len(rows) // num_processes)
        wanted = share if limit is None else min(limit, share)
        fitting = min(all_gather_objects(fitting_batch_size(prior, rows[0].length, self.parts.execution_device)))
        is_expected = limit is None and len(rows) > len(state.request.songs)  # hundreds of segments are normal
        if fitting < wanted and not is_expected:
            logger.warning("%d songs at a time do not fit into memory; sampling %d at a time.", wanted, fitting)
        return min(wanted, fitting)

    def _num_left_below(self, state: SamplingState, level: int) -> int:
        """Return the codes that this process samples at the levels below one, warm-ups included."""
        left = 0
        for below, prior in enumerate(self.parts.priors[:level]):
            if below in state.request.levels and prior is not None:
                level_codes = state.levels[below]
                for row in state.spans(below, prior.config):
                    if not level_codes.is_sampled(row):
                        left += row.length - level_codes.num_given_in(row)
        return left // process_rank()[1]

    def _start_saving(self, scheduler: LevelScheduler, run: JukeboxRun, writer: CheckpointWriter) -> None:
        """Copy what there is between two codes, and leave writing it to a thread.

        The codes are on the way to the disk before the windows in progress are copied, which take far more memory.
        """
        scheduler.sync_to_state()
        level, codes = scheduler.level, scheduler.level_codes.copy()
        copied: Future[dict[Rows, Snapshot]] = Future()
        try:
            writer.start(lambda: run.save(level, codes, copied.result))
            copied.set_result(scheduler.snapshots(in_background=True))
        finally:
            copied.cancel()  # has no effect on a result; without one the thread would wait for it

    def _save(self, scheduler: LevelScheduler, run: JukeboxRun | None) -> None:
        """Update the state, and write its codes before the windows in progress, which take far more memory.

        Raises:
            MemoryError: the windows could not be copied; the codes are written, and the run can be resumed from them.
        """
        scheduler.sync_to_state()
        if run is None or scheduler.is_released:
            return
        try:
            run.save(scheduler.level, scheduler.level_codes, scheduler.snapshots)
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block nothing references the tensors of the failed write.
        snapshots = scheduler.release()
        run.save(scheduler.level, scheduler.level_codes, lambda: snapshots)
        raise MemoryError(
            f"There is not enough memory to save the windows in progress at level {scheduler.level}; the codes sampled "
            f"so far are in {run.folder}: resume it with a smaller batch, such as --max-batch-size 1."
        )
