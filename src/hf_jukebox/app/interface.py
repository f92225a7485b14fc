"""Operations of the app, behind its routes and behind the functions of Gradio's client."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..sampling.request import levels_to_sample
from .schemas import Continuation, Job, NewRun, Pending, Upsampling
from .song_uploads import SongUpload, is_sampled_by, origin
from .store import RunStore
from .view import model_view, run_view
from .worker import BusyError, Worker


class Interface:
    """Operations that the routes and the functions of the Gradio client share.

    Args:
        store: The runs.
        worker: The thread that samples them.
    """

    def __init__(self, store: RunStore, worker: Worker) -> None:
        self.store, self.worker, self.settings = store, worker, store.settings

    def create(self, body: NewRun) -> str:
        """Make a run and add it to the queue; return its id.

        Raises:
            OSError: the run cannot be written.
            ValueError: a limit of the server is exceeded, or there is no such prompt.
        """
        self._check_limits(body.seconds, body.candidates)
        self.check_levels(body.levels)
        if body.prompt is not None:
            self.store.prompt(body.prompt)
        job = Job(title=body.title, created=time.time())
        run_id = self.store.new(job)
        try:
            if body.prompt is not None:
                name = self.store.give_prompt(run_id, body.prompt)
                self.store.write_job(run_id, job.model_copy(update={"prompt": name}))
            self.worker.queue(run_id, Pending.of(body, 0))
        except (OSError, ValueError):
            self.store.discard(run_id)
            raise
        return run_id

    def look_at(self, path: Path) -> SongUpload:
        """Return the song in an upload, or why it cannot be opened."""
        return SongUpload.read(path, self.worker.model, self.settings.max_seconds)

    def open_song(self, prompt_id: str) -> str:
        """Open an uploaded song file as the run that it came from; return its id.

        Raises:
            BusyError: the model is still being loaded.
            ValueError: it holds no codes, or those of another model.
        """
        path, model = self.store.prompt(prompt_id), self.worker.model
        if self.worker.failure:
            raise ValueError(self.worker.failure)
        if model is None:
            raise BusyError("The model is still being loaded; try again in a minute.")
        song, remark = self.look_at(path)
        if song is None:
            raise ValueError(remark or f"{path.name} holds no codes; its sound is used as a prompt.")
        job = Job(title=path.stem[:100], created=time.time(), origin=origin(song, model))
        try:
            run_id = self.store.new_song(song, job)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), path.name)) from error
        if is_sampled_by(song, model):
            with suppress(BusyError):  # a full queue: it is heard all the same
                self.worker.queue(run_id, Pending(action="resume"))  # which decodes it to its files
        return run_id

    def advance(self, run_id: str, body: Continuation | Upsampling) -> None:
        """Queue the next step of a finished run.

        Raises:
            ValueError: a limit is exceeded, or the run is not finished.
        """
        if isinstance(body, Continuation):
            self.check_levels(body.levels)
            run = self.store.open(run_id)
            self._check_limits(body.seconds, body.candidates * (1 if run is None else len(run.request.songs)))
        view = self.view(run_id)
        if view["state"] not in ("finished", "failed"):
            raise BusyError("This run is not finished; wait for it, or resume it first.")
        self.worker.queue(run_id, Pending.of(body, len(view["steps"])))

    def resume(self, run_id: str) -> None:
        """Queue a stopped or failed run again.

        Raises:
            BusyError: there is nothing to resume.
        """
        view, pending = self.view(run_id), self.store.job(run_id).pending
        if view["state"] not in ("stopped", "failed"):
            raise BusyError(f"This run is {view['state']}; there is nothing to resume.")
        if pending is None and self.store.open(run_id) is None:
            raise BusyError("This run has nothing to resume; delete it.")
        self.worker.queue(run_id, pending or Pending(action="resume"))

    def stop(self, run_id: str) -> None:
        """Stop a run; everything sampled so far is kept."""
        self.store.path(run_id)
        self.worker.stop(run_id)

    def delete(self, run_id: str) -> None:
        """Stop and remove a run."""
        self.store.path(run_id)
        self.worker.stop(run_id)
        self.store.delete(run_id)

    def view(self, run_id: str) -> dict[str, Any]:
        """Return the state of a run."""
        return run_view(run_id, self.store, self.worker)

    def estimate(self, seconds: float, given: float, candidates: int, levels: list[int] | None) -> float | None:
        """Return how long sampling takes, in seconds; None if that is not known yet."""
        if self.worker.pipeline is None:
            return None
        return self.worker.speeds.estimate(self.worker.pipeline, seconds, given, candidates, levels)

    def server_view(self) -> dict[str, Any]:
        """Return the model, once it is loaded, and the limits."""
        pipeline, settings = self.worker.pipeline, self.settings
        return {
            "model": None if pipeline is None else model_view(pipeline),
            "failure": self.worker.failure,
            "limits": {
                "upload_bytes": settings.max_upload_bytes,
                "prompt_seconds": settings.max_prompt_seconds,
                "seconds": settings.max_seconds,
                "candidates": settings.max_candidates,
            },
        }

    def _check_limits(self, seconds: float, candidates: int) -> None:
        settings = self.settings
        if self.worker.failure:
            raise ValueError(self.worker.failure)
        if seconds > settings.max_seconds:
            raise ValueError(f"{seconds:.0f} s are too long; ask for at most {settings.max_seconds:.0f} s.")
        if candidates > settings.max_candidates:
            raise ValueError(f"{candidates} candidates are too many; ask for at most {settings.max_candidates}.")

    def check_levels(self, levels: list[int] | None) -> None:
        """Refuse levels that the model lacks, once it is loaded.

        Raises:
            ValueError: it lacks one; the message names those that it has.
        """
        if levels is not None and self.worker.pipeline is not None:
            levels_to_sample(self.worker.pipeline.hierarchy, levels)
