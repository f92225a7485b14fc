"""Number of threads of a decode step on a CPU: fewer while other programs take cores."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_PAUSES = 20, 320  # steps from one trial to the next, at first and at most: twice as many after each one in vain
_TRIAL = 5  # steps with another number of threads; the first one starts or ends threads, and is not counted
_GAIN = 0.92  # of the time, below which one fewer is kept; one more is kept if it is no slower


@dataclass
class ThreadCount:
    """Chooses a number of threads by trying one more or one fewer now and then.

    All threads of a step wait for the slowest one several times a layer. If another program takes its core, they wait
    for as long as that program may run, and one thread fewer is faster. The results of a step must not depend on it.
    """

    _most: int = 0
    _count: int = 0
    _key: Hashable = None
    _other_key: Hashable = None
    _num_others: int = 0  # steps of that key in a row, which are not counted yet
    _tried: int | None = None
    _fewer_is_next: bool = True
    _pause: int = _PAUSES[0]
    _steps: int = 0
    _times: list[float] = field(default_factory=list)

    def for_step(self, key: Hashable, most: int) -> int:
        """Return the number of threads for the next step, at most `most`.

        Args:
            key: Equal for steps that take the same time.
        """
        if most != self._most:
            self._count = most
        if most != self._most or self._goes_on(key):
            self._most, self._key, self._pause = most, key, _PAUSES[0]
            self._num_others = 0
            self._begin()
        return self._count if self._tried is None else self._tried

    def current(self, most: int) -> int:
        """Return the number of threads that is used, at most `most`, for work between two steps."""
        return min(self._count or most, most)

    def took(self, seconds: float) -> None:
        """Note the time of the step that `for_step` was asked for."""
        if self._num_others:
            return
        self._steps += 1
        self._times.append(seconds)
        if self._tried is not None:
            if len(self._times) >= 2 * _TRIAL - 1:
                self._decide(self._tried)
            return
        self._times = self._times[1 - _TRIAL :]  # as many as a trial is compared with
        if self._steps >= self._pause:
            self._tried = self._next_to_try()

    def _goes_on(self, key: Hashable) -> bool:
        """Return whether steps of another key go on; a few of them are passed over."""
        if key == self._key:
            self._num_others = 0
        else:
            self._num_others = self._num_others + 1 if key == self._other_key else 1
            self._other_key = key
        return self._num_others == _TRIAL

    def _begin(self) -> None:
        """Forget what was measured: of other steps, or with other threads."""
        self._tried, self._steps, self._times = None, 0, []

    def _next_to_try(self) -> int | None:
        others = [count for count in (self._count - 1, self._count + 1) if 1 <= count <= self._most]
        if not others:
            self._steps = 0
            return None
        self._fewer_is_next = not self._fewer_is_next
        return others[0] if self._fewer_is_next else others[-1]

    def _decide(self, tried: int) -> None:
        before, after = self._times[: _TRIAL - 1], self._times[_TRIAL:]
        if sum(after) <= sum(before) * (_GAIN if tried < self._count else 1):
            self._count, self._pause = tried, _PAUSES[0]
        else:
            self._pause = min(2 * self._pause, _PAUSES[1])
        self._begin()
