"""Checkpoints of a run, written by a thread while the next codes are sampled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from .checkpoint_timer import CheckpointTimer


class CheckpointWriter:
    """Writer of one checkpoint at a time.

    Args:
        num_bytes: Size of a checkpoint, from which the time to the first one follows.
    """

    def __init__(self, num_bytes: int = 0) -> None:
        self._timer = CheckpointTimer(num_bytes)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None

    @property
    def is_due(self) -> bool:
        """True if it is time for a checkpoint, and the last one is written or has failed."""
        return self._timer.is_due and (self._written is None or self._written.done())

    def start(self, write: Callable[[], None]) -> None:
        """Call `write` in the thread; the time that it takes decides when the next checkpoint is due.

        Raises:
            OSError: the last checkpoint could not be written, or whatever else its `write` raised.
        """
        if self._written is not None:
            self._written.result()
        self._written = self._thread.submit(self._write, write)

    def finish(self) -> None:
        """Wait for the checkpoint in progress; its error does not matter to a caller that writes another one now."""
        self._thread.shutdown()

    def _write(self, write: Callable[[], None]) -> None:
        with self._timer.writing():
            write()
