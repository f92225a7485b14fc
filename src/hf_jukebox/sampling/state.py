"""A batch of songs while it is drawn: the codes of every level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..hierarchy import Hierarchy
from .known import KnownCodes
from .parallel import plan_segments
from .request import SamplingRequest
from .windows import Span, Window


@dataclass
class LevelCodes:
    """Codes of one level: what was known of them, and what has been drawn.

    Args:
        codes: `[N, total]` on the CPU; for a level that is not drawn, as long as what is known.
        known: How many codes were given, one number a song.
        filled: How many there are by now without a gap, one number a song.
        seams: Of each song, where finished segments take over, and the codes that each had drawn before, its warm-up.
    """

    codes: torch.Tensor
    known: list[int]
    filled: list[int]
    seams: list[dict[int, torch.Tensor]]

    @property
    def total(self) -> int:
        return self.codes.shape[1]

    @property
    def is_finished(self) -> bool:
        return min(self.filled) == self.total

    @property
    def existing(self) -> torch.Tensor:
        """What every song has, `[N, shortest]`."""
        return self.codes[:, : min(self.filled)]

    def existing_in(self, span: Span) -> int:
        """How many codes at the start of a stretch were given, and are not drawn with it."""
        return max(self.known[span.song] - span.window.start, 0)

    def has(self, span: Span) -> bool:
        """Whether all of a stretch is drawn."""
        is_segment = span.warms_up and span.begin in self.seams[span.song]
        return is_segment or self.filled[span.song] >= span.end

    def take(self, span: Span, codes: torch.Tensor) -> None:
        """Take over the codes `[n]` that a stretch has so far; a segment that warms up counts when it is finished."""
        song, at = span.song, span.window.start + len(codes)
        if span.warms_up:
            if at < span.end:
                return
            self.seams[song][span.begin] = codes[: span.window.known].clone()
        self.codes[song, span.begin : at] = codes[span.window.known :]
        if span.begin <= self.filled[song]:
            self.filled[song] = max(self.filled[song], at)


@dataclass
class SamplingState:
    """A request and its codes at every level, finest first; rows drawn at a time are those of the request, or fewer."""

    request: SamplingRequest
    levels: list[LevelCodes]
    max_batch_size: int | None

    @classmethod
    def begin(cls, request: SamplingRequest, known: Sequence[KnownCodes], hierarchy: Hierarchy) -> SamplingState:
        """Room for all that a request draws, with the known codes in front.

        Raises:
            ValueError: a level is drawn under one that is neither drawn nor known for the whole piece.
        """
        levels = []
        for level, of_level in enumerate(known):
            total = hierarchy.codes(level, request.top_codes) if level in request.levels else of_level.codes.shape[1]
            codes = torch.zeros(len(request.songs), total, dtype=torch.long)
            codes[:, : of_level.codes.shape[1]] = of_level.codes
            seams = of_level.seams or [{} for _ in request.songs]
            levels.append(LevelCodes(codes, list(of_level.lengths), list(of_level.lengths), seams))
        for level in request.levels:
            above = level + 1
            if above == len(levels) or above in request.levels:
                continue
            if min(levels[above].filled) < hierarchy.codes(above, request.top_codes):
                raise ValueError(
                    f"Level {level} is drawn from the codes of level {above}, which are missing or too short; add "
                    f"{above} to levels, or give its codes for the whole piece."
                )
        return cls(request, levels, request.max_batch_size)

    def spans(self, level: int, config: JukeboxPriorConfig) -> list[Span]:
        """What is drawn at a level, in order: each song as a whole, or in parallel upsampling each of its segments."""
        of_level = self.levels[level]
        if self.request.upsampling == "parallel" and config.is_upsampler:
            return plan_segments(of_level.total, config.n_ctx, config.upsampling_ratio, of_level.known)
        windows = [Window(0, of_level.total, known) for known in of_level.known]
        return [Span(song, window) for song, window in enumerate(windows) if window.known < window.end]
