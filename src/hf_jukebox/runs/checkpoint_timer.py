"""When to write down where a run stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

INTERVAL_IN_S = 5.0
_SHARE = 20  # writing may take one part in so many of the time


class CheckpointTimer:
    """Due every few seconds of work, less often where writing is slow, as the caches of a large batch are large."""

    def __init__(self) -> None:
        self._interval = INTERVAL_IN_S
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last >= self._interval

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of a checkpoint."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._interval = max(INTERVAL_IN_S, _SHARE * (self._last - begun))
