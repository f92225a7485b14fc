"""The queue, and the thread that samples one run at a time."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..allocator import is_out_of_memory
from ..pipeline_jukebox import JukeboxPipeline, SamplingProgress
from ..runs.actions import pick_candidate
from ..runs.contents import RunReader
from ..runs.record import ModelRecord
from .kept_audio import KeptAudio
from .live_audio import GrowingAudio, LiveAudio
from .schemas import Continuation, Job, NewRun, Pending, Settings
from .speeds import Speeds, SpeedWatch
from .store import NotFoundError, RunStore, pending_ids

logger = logging.getLogger(__name__)

_LONGEST_WAIT_IN_S = 120.0  # for the code in progress, and for the state to be saved


class BusyError(ValueError):
    """Error for a run that something is being done with, or a queue that is full."""


class Worker:
    """Thread that samples the runs of a store, one after the other.

    Args:
        store: The runs.
        load: Loads the pipeline, in the thread.

    Attributes:
        pipeline: The pipeline, once it is loaded.
        model: Its record.
        failure: The reason why it could not be loaded.
        current: Id of the run that is sampled.
        progress: Its progress.
    """

    def __init__(self, store: RunStore, load: Callable[[], JukeboxPipeline]) -> None:
        self.store, self.load = store, load
        self.pipeline: JukeboxPipeline | None = None
        self.model: ModelRecord | None = None
        self.failure = ""
        self.current: str | None = None
        self.progress: dict[str, Any] = {}
        self.live = LiveAudio(store.folder / ".live")
        self.kept = KeptAudio(store.folder / ".kept")
        self.speeds = Speeds()
        self._queue = list(pending_ids(store))
        self._changed = threading.Condition()
        self._stopping: set[str] = set()
        self._picking: set[str] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="sampling", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Save the run in progress, which goes on at the next start, and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self.kept.close()
        self._thread.join(_LONGEST_WAIT_IN_S)

    # Requests ------------------------------------------------------------------------------------------------------

    def queue(self, run_id: str, pending: Pending) -> None:
        """Add work for a run to the queue.

        Raises:
            BusyError: it is in the queue already, or the queue is full.
        """
        with self._changed:
            self._wait_for_pick(run_id)
            if run_id == self.current or run_id in self._queue:
                raise BusyError("This run is being sampled, or waits for it; stop it first.")
            if len(self._queue) >= self.store.settings.max_queued:
                raise BusyError(f"{len(self._queue)} runs are waiting, which is the limit; try again later.")
            self._insert(run_id, pending.model_copy(update={"queued": time.time()}), len(self._queue))

    def place(self, run_id: str) -> int | None:
        """Return how many runs are before one in the queue, that in progress included; None if it does not wait."""
        with self._changed:
            if run_id not in self._queue:
                return None
            return self._queue.index(run_id) + (self.current is not None)

    def unfinished_audio(self, run_id: str, run: RunReader, level: int, song: int) -> GrowingAudio | None:
        """Return the audio of a song at a level that has no file yet; None if there is nothing to hear."""
        if self.current == run_id:
            return self.live.get(run_id, level, song)
        return self.kept.get(run, level, song)

    def stop(self, run_id: str) -> None:
        """Stop a run, or take it from the queue; everything sampled so far is kept.

        Raises:
            BusyError: it does not stop in time.
        """
        with self._changed:
            self._wait_for_pick(run_id)
            self._stop(run_id)

    def pick(self, run_id: str, candidate: int) -> None:
        """Keep one candidate of a run, which goes on with it, in its place of the queue, if it was in progress.

        Raises:
            OSError, ValueError: there is no such candidate.
        """
        with self._changed:
            self._wait_for_pick(run_id)
            self._picking.add(run_id)  # no other run takes its turn meanwhile
        try:
            with self._changed:
                place = self._queue.index(run_id) if run_id in self._queue else 0 if run_id == self.current else None
                self._stop(run_id)
                pending = None if place is None else self.store.job(run_id).pending
            try:
                is_ahead = pending is not None and not self._has_begun(run_id, pending)
                pick_candidate(self.store.path(run_id), candidate)
                if pending is not None and is_ahead:  # the pick is one more step before it
                    pending = pending.model_copy(update={"steps": pending.steps + 1})
            finally:
                if place is not None and pending is not None:
                    with self._changed:
                        self._insert(run_id, pending, place)
        finally:
            with self._changed:
                self._picking.discard(run_id)
                self._changed.notify_all()

    def _insert(self, run_id: str, pending: Pending, place: int) -> None:
        job = self.store.job(run_id)
        self.store.write_job(run_id, job.model_copy(update={"pending": pending, "stopped": False, "error": ""}))
        self._queue.insert(place, run_id)
        self._changed.notify_all()

    def _stop(self, run_id: str) -> None:
        if run_id in self._queue:
            self._queue.remove(run_id)
            self.store.write_job(run_id, self.store.job(run_id).model_copy(update={"stopped": True}))
        elif run_id == self.current:
            self._stopping.add(run_id)
            if not self._changed.wait_for(lambda: self.current != run_id, _LONGEST_WAIT_IN_S):
                raise BusyError("The run is still saving; try again in a minute.")

    def _has_begun(self, run_id: str, pending: Pending) -> bool:
        run = self.store.open(run_id)
        return run is not None and len(run.steps) > pending.steps

    def _wait_for_pick(self, run_id: str) -> None:
        """Wait until a pick in another thread has written its page, for the run is seen as picked before that."""
        if not self._changed.wait_for(lambda: run_id not in self._picking, _LONGEST_WAIT_IN_S):
            raise BusyError("A candidate of this run is being picked; try again in a minute.")

    # The thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            pipeline = self.load()
            self.model = pipeline.model_record()
            self.kept.use(pipeline.vqvae, self.model.parts["vqvae"])
            self.pipeline = pipeline
            self.speeds.measure(pipeline)
        except Exception as error:
            self.failure = f"The model cannot be loaded: {error}"
            logger.error("%s", self.failure)
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or (self._queue and not self._picking))
                if self._is_closing:
                    return
                self.current, self.progress = self._queue.pop(0), {}
            try:
                self._run(self.current, pipeline)
            except Exception:  # the queue goes on, whatever it is
                logger.exception("The run %s has failed.", self.current)
            finally:
                with self._changed:
                    self._stopping.discard(self.current)
                    self.current = None
                    self._changed.notify_all()

    def _run(self, run_id: str, pipeline: JukeboxPipeline) -> None:
        """Do what a run waits for; an error is kept with the run, and the queue goes on."""
        error, remarks = "", []
        try:
            job = self.store.job(run_id)
            assert job.pending is not None
            self.live.begin(run_id)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                self._sample(pipeline, self.store.path(run_id), job, job.pending)
            remarks = list(dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning))
        except (ValueError, OSError, FloatingPointError) as failure:
            error = str(failure)
        except Exception as failure:
            if not is_out_of_memory(failure):
                logger.exception("The run %s has failed.", run_id)
            is_full = is_out_of_memory(failure)
            error = (
                "Memory has run out; ask for fewer candidates." if is_full else f"The program has failed: {failure!r}"
            )
        finally:
            with suppress(OSError):  # a full disk, which has failed the run before
                self.live.end()
        if error:
            logger.warning("%s: %s", run_id, error)
        self._record(run_id, error, remarks[:20])

    def _record(self, run_id: str, error: str, remarks: list[str]) -> None:
        """Write how a run has ended; if that cannot be written, it has failed, and is resumed at the next start."""
        is_stopped = run_id in self._stopping
        is_open = bool(error) or is_stopped or self._is_closing
        changes = {"stopped": is_stopped and not error, "error": error, "remarks": remarks}
        try:
            job = self.store.job(run_id)
        except NotFoundError as failure:
            logger.warning("%s has been removed while it was sampled: %s", run_id, failure)
            return
        try:
            self.store.write_job(run_id, job.model_copy(update=changes if is_open else changes | {"pending": None}))
        except OSError as failure:
            logger.warning("%s: %s", run_id, failure)
            error = error or f"The end of this run cannot be written ({failure}); make room, and resume it."
            self.store.keep_unwritten(run_id, job.model_copy(update=changes | {"stopped": False, "error": error}))

    def _sample(self, pipeline: JukeboxPipeline, folder: Path, job: Job, pending: Pending) -> None:
        watch = SpeedWatch(self.speeds)

        def callback(progress: SamplingProgress) -> bool:
            watch(progress)
            self.progress = _shown(progress, watch.seconds_per_code)
            return not (self._is_closing or self.current in self._stopping)

        options: dict[str, Any] = {"output_type": "latent", "callback": callback, "on_audio": self.live.write}
        body = pending.request()
        if body is None or self._has_begun(folder.name, pending):
            pipeline.resume_run(folder, **options)
        elif isinstance(body, NewRun):
            prompt = self.store.run_prompt(folder.name)
            pipeline(
                prompt,
                audio_length_in_s=body.seconds,
                prompt_length_in_s=None if prompt is None else body.prompt_seconds,
                total_length_in_s=body.total_seconds,
                offset_in_s=body.offset_seconds,
                num_waveforms_per_prompt=body.candidates,
                levels=body.levels,
                output_dir=folder,
                **_settings(body),
                **options,
            )
        elif isinstance(body, Continuation):
            pipeline.continue_run(
                folder,
                body.seconds,
                levels=body.levels,
                num_waveforms_per_prompt=body.candidates,
                **_settings(body),
                **options,
            )
        else:
            pipeline.upsample_run(folder, **_settings(body), **options)
        watch.end()


def _settings(body: Settings) -> dict[str, Any]:
    given = {name: getattr(body, name) for name in ("artist", "genre", "lyrics", "temperature", "top_p")}
    given["generator"] = body.seed
    return {name: value for name, value in given.items() if value not in (None, "")}


def _shown(progress: SamplingProgress, seconds_per_code: float) -> dict[str, Any]:
    left = (progress.to_sample - progress.sampled) * seconds_per_code
    return {
        "level": progress.level,
        "songs": [progress.songs.start, progress.songs.stop - 1],
        "seconds_done": round(progress.filled / progress.codes_per_second, 2),
        "seconds_total": round(progress.length / progress.codes_per_second, 2),
        "share": round(progress.sampled / max(progress.to_sample, 1), 4),
        "seconds_left": round(left, 1) if seconds_per_code else None,
    }
