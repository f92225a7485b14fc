"""State of a batch of songs during sampling: the codes of every level, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..hierarchy import Hierarchy
from .known import KnownCodes
from .parallel import Seam, plan_segments
from .request import SamplingRequest
from .windows import Span, Window


@dataclass
class LevelCodes:
    """Codes of one level: those that were given, and those sampled so far.

    Args:
        codes: `[N, length]` on the CPU; a level that is not sampled is as long as its given codes.
        num_given: Codes given, per song.
        num_filled: Codes filled contiguously from the start, given or sampled, per song.
        seams: Seams of finished segments, per song.
        avoided: Price in bits of each position at which codes were excluded, per song.
    """

    codes: torch.Tensor
    num_given: list[int]
    num_filled: list[int]
    seams: list[list[Seam]]
    avoided: list[dict[int, float]]

    @property
    def length(self) -> int:
        return self.codes.shape[1]

    @property
    def is_finished(self) -> bool:
        return min(self.num_filled) == self.length

    @property
    def common_prefix(self) -> torch.Tensor:
        """Codes that every song has, `[N, shortest]`."""
        return self.codes[:, : min(self.num_filled)]

    def copy(self) -> LevelCodes:
        """Return a copy that keeps what there is now."""
        seams, avoided = [list(each) for each in self.seams], [dict(each) for each in self.avoided]
        return LevelCodes(self.codes.clone(), list(self.num_given), list(self.num_filled), seams, avoided)

    def num_given_in(self, span: Span) -> int:
        """Return how many codes at the start of a span were given, and are not sampled with it."""
        return max(self.num_given[span.song] - span.window.start, 0)

    def seam_at(self, span: Span) -> Seam | None:
        """Return the seam at which a finished segment begins."""
        return next((seam for seam in self.seams[span.song] if seam.position == span.begin), None)

    def is_sampled(self, span: Span) -> bool:
        """Return whether all of a span is sampled."""
        is_segment = span.warms_up and self.seam_at(span) is not None
        return is_segment or self.num_filled[span.song] >= span.end

    def note_prices(self, span: Span, prices: Mapping[int, float]) -> None:
        """Store the prices of excluded codes by their position in a span; those of a warm-up do not count."""
        context = span.window.context if span.warms_up else 0
        kept = {span.window.start + position: bits for position, bits in prices.items() if position >= context}
        self.avoided[span.song].update(kept)

    def write(self, span: Span, codes: torch.Tensor) -> None:
        """Store the codes `[n]` that a span has so far; a segment with a warm-up is stored when it is finished."""
        song, end, context = span.song, span.window.start + len(codes), span.window.context
        if span.warms_up:
            if end < span.end:
                return
            if self.seam_at(span) is None:
                self.seams[song].append(Seam(span.begin, codes[:context].clone()))
        self.codes[song, span.begin : end] = codes[context:]
        if span.begin <= self.num_filled[song]:
            self.num_filled[song] = max(self.num_filled[song], end)


@dataclass
class SamplingState:
    """A request and its codes at every level, finest first."""

    request: SamplingRequest
    levels: list[LevelCodes]

    @classmethod
    def begin(cls, request: SamplingRequest, known: Sequence[KnownCodes], hierarchy: Hierarchy) -> SamplingState:
        """Allocate the codes of every level, with the known ones in front.

        Raises:
            ValueError: a level is sampled below one that is neither sampled nor known for the whole piece.
        """
        levels = []
        for level, given in enumerate(known):
            length = hierarchy.codes(level, request.top_codes) if level in request.levels else given.codes.shape[1]
            codes = torch.zeros(len(request.songs), length, dtype=torch.long, device="cpu")
            codes[:, : given.codes.shape[1]] = given.codes
            seams = [list(song_seams) for song_seams in given.seams] or [[] for _ in request.songs]
            avoided = [dict(song_avoided) for song_avoided in given.avoided] or [{} for _ in request.songs]
            levels.append(LevelCodes(codes, list(given.lengths), list(given.lengths), seams, avoided))
        for level in request.levels:
            above = level + 1
            if above == len(levels) or above in request.levels:
                continue
            if min(levels[above].num_filled) < hierarchy.codes(above, request.top_codes):
                raise ValueError(
                    f"Level {level} is sampled from the codes of level {above}, which are missing or too short; add "
                    f"{above} to `levels`, or give its codes for the whole piece."
                )
        return cls(request, levels)

    def spans(self, level: int, config: JukeboxPriorConfig) -> list[Span]:
        """Return the spans to sample at a level, in order: whole songs, or their segments in parallel upsampling."""
        level_codes = self.levels[level]
        if self.request.upsampling == "parallel" and config.is_upsampler:
            return plan_segments(level_codes.length, config.n_ctx, config.upsampling_ratio, level_codes.num_given)
        windows = [Window(0, level_codes.length, num_given) for num_given in level_codes.num_given]
        return [Span(song, window) for song, window in enumerate(windows) if window.context < window.end]
