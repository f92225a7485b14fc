"""Sampling speed per level, measured on the pipeline and refined by every run."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from ..pipeline_jukebox import JukeboxPipeline, SamplingProgress
from ..sampling.request import levels_to_sample

logger = logging.getLogger(__name__)

_TRIAL_CODES = 8  # of the top level
_KEPT = 0.5  # share of the older figure when there is a new one


@dataclass
class Speeds:
    """Seconds per code of one song, per level.

    Attributes:
        seconds_per_code: What was measured so far.
    """

    seconds_per_code: dict[int, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def measure(self, pipeline: JukeboxPipeline) -> None:
        """Sample a few codes at every level."""
        top_hop, rate = pipeline.hierarchy.top_hop, pipeline.sampling_rate
        try:
            watch = SpeedWatch(self)
            pipeline(audio_length_in_s=(_TRIAL_CODES + 0.5) * top_hop / rate, output_type="latent", callback=watch,
                     generator=0)  # fmt: skip
            watch.end()
        except (ValueError, RuntimeError, MemoryError) as error:  # an estimate is no reason not to start
            logger.warning("The speed could not be measured: %s", error)

    def estimate(
        self, pipeline: JukeboxPipeline, seconds: float, given: float, candidates: int, levels: list[int] | None
    ) -> float | None:
        """Return how many seconds sampling takes, or None if that is not known.

        Args:
            seconds: Length of the piece.
            given: Length of what it begins with, which is not sampled.
            levels: Levels to sample, all by default.
        """
        total = 0.0
        hops, rate = pipeline.vqvae.config.hop_lengths, pipeline.sampling_rate
        for level in levels_to_sample(pipeline.hierarchy, levels):
            if level not in self.seconds_per_code:
                return None
            codes = max(seconds - given, 0) * rate / hops[level]
            total += codes * candidates * self.seconds_per_code[level]
        return total

    def add(self, level: int, seconds: float) -> None:
        """Add a measurement."""
        with self._lock:
            before = self.seconds_per_code.get(level, seconds)
            self.seconds_per_code[level] = _KEPT * before + (1 - _KEPT) * seconds


class SpeedWatch:
    """Callback that measures the speed of a run; it measures from the first code of a level on, after its prefill."""

    def __init__(self, speeds: Speeds) -> None:
        self._speeds = speeds
        self._level, self._first, self._since = -1, 0, 0.0
        self._last, self._at = 0, 0.0

    def __call__(self, progress: SamplingProgress) -> None:
        now = time.monotonic()
        if progress.level != self._level:
            self.end()
            self._level, self._first, self._since = progress.level, progress.sampled, now
        self._last, self._at = progress.sampled, now

    @property
    def seconds_per_code(self) -> float:
        """Seconds per code at the current level, 0 while there is only one."""
        count = self._last - self._first
        return (self._at - self._since) / count if count else 0.0

    def end(self) -> None:
        """Take the figure of the level over."""
        if self._level >= 0 and self.seconds_per_code:
            self._speeds.add(self._level, self.seconds_per_code)
