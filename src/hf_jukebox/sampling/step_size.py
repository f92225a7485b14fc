"""Number of codes of a song that one step tries to sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

SIZES = (1, 4, 8, 16)  # a single guess is seldom worth what guessing costs

_TRIAL = 16  # steps whose speed is compared
_PAUSES = 1, 64  # trials that would fit between two, at first and at most: four times as many after each one in vain
_GAIN = 1.03  # of the speed, from which another size is taken


@dataclass
class StepSize:
    """Chooses among sizes by trying the next larger or smaller one now and then.

    What a guess is worth depends on the model and on the music, what it costs on the processor: only codes per second
    tell. The codes themselves must not depend on it.

    Args:
        sizes: What to choose from, in ascending order; the first steps have the first one.
    """

    sizes: Sequence[int]
    _index: int = 0
    _tried: int | None = None
    _direction: int = 1
    _pause: int = _PAUSES[0]
    _num_waited: int = 0
    _speed: float = 0.0  # at the current size, codes per second
    _seconds: list[float] = field(default_factory=list)
    _num_codes: int = 0

    def current(self) -> int:
        """Return how many codes the next step tries to sample."""
        return self.sizes[self._index if self._tried is None else self._tried]

    def took(self, seconds: float, num_codes: int) -> None:
        """Note what the step took, and how many codes it sampled."""
        self._seconds.append(seconds)
        self._num_codes += num_codes
        if len(self._seconds) < _TRIAL:
            return
        # The median, since the machine may do something else for once.
        speed = self._num_codes / _TRIAL / median(self._seconds)
        self._seconds, self._num_codes = [], 0
        if self._tried is not None:
            self._decide(self._tried, speed)
            return
        self._speed = speed
        self._num_waited += 1
        if self._num_waited >= self._pause and len(self.sizes) > 1:
            self._tried = self._next_to_try()

    def _next_to_try(self) -> int:
        if not 0 <= self._index + self._direction < len(self.sizes):
            self._direction = -self._direction
        return self._index + self._direction

    def _decide(self, tried: int, speed: float) -> None:
        if speed > self._speed * _GAIN:
            self._index, self._pause = tried, _PAUSES[0]
        else:
            self._direction, self._pause = -self._direction, min(4 * self._pause, _PAUSES[1])
        self._tried, self._num_waited = None, 0
