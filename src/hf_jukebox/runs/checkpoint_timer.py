"""The time between two checkpoints of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERVAL_IN_S = 5.0
INTERVAL_PER_WRITE = 20  # the interval is at least this many times as long as writing takes
_BYTES_PER_S = 1e9  # to copy from a device and write, until it has been measured


class CheckpointTimer:
    """Due every few seconds of work, less often where writing is slow, as with the caches of a large batch.

    Args:
        num_bytes: Size of a checkpoint, from which the time to the first one follows.
    """

    def __init__(self, num_bytes: int = 0) -> None:
        self._interval = max(INTERVAL_IN_S, INTERVAL_PER_WRITE * num_bytes / _BYTES_PER_S)
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last >= self._interval

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long the checkpoint that is written inside takes."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._interval = max(INTERVAL_IN_S, INTERVAL_PER_WRITE * (self._last - begun))
