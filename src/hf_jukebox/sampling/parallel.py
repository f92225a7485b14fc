"""Drawing a level as one batch of segments, instead of one window after the other.

A segment is one window of the prior that knows nothing of its neighbours but the codes of the level above, and what a
prompt gives. It begins `WARM_UP` of a window before the codes that are kept of it: these first codes settle it, are
drawn from the very random numbers with which the segment before drew the same places, and are then thrown away, but
for a cross-fade at the seam.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from ..modeling_prior import JukeboxPrior
from .draw import uniform_noise
from .level import DrawCode, LevelSampler, LevelTask, draw_code
from .piece import LabelsOf, Piece
from .windows import Window, plan_windows, round_hop

logger = logging.getLogger(__name__)

WARM_UP = 1 / 8  # of a window


@dataclass(frozen=True)
class Segment:
    """One window of a song; its first `window.known` codes are warm-up, or exist."""

    song: int
    window: Window


@dataclass(frozen=True)
class Seam:
    """Where a segment takes over, and the codes `[warm_up]` that it had drawn before."""

    position: int
    warm_up: torch.Tensor


def plan_segments(total: int, n_ctx: int, upsampling_ratio: int, known: Sequence[int]) -> list[Segment]:
    """The segments that draw `total` codes of every song, of which the first `known[song]` exist."""
    hop = round_hop(n_ctx, 1 - WARM_UP, upsampling_ratio)
    return [
        Segment(song, window)
        for song, of_song in enumerate(known)
        for window in plan_windows(total, n_ctx, hop, of_song)
    ]


class ParallelDrawing:
    """Draws one level of a piece, a batch of segments at a time. Iterating yields the songs of each code drawn.

    A batch that is interrupted is drawn again by the next run; what is finished is kept up to the first gap.

    Args:
        piece: Its codes are kept up to date by `collect`.
        labels_of: Gives the label rows of some songs; None without labels.
        batch_size: Segments drawn at a time.
        share: Which batches to draw, as (number of this process, number of processes).
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        piece: Piece,
        level: int,
        device: torch.device,
        labels_of: LabelsOf | None,
        batch_size: int,
        draw_code: DrawCode = draw_code,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.prior, self.piece, self.level, self.device = prior, piece, level, device
        self.labels_of, self.draw_code = labels_of, draw_code
        of_level, config = piece.levels[level], prior.config
        segments = plan_segments(of_level.total, config.n_ctx, config.upsampling_ratio, of_level.known)
        segments.sort(key=lambda segment: segment.window.known)  # what takes longest comes first
        # Even batches: a last one of a few segments would take as long as a full one.
        count = max(-(-len(segments) // batch_size), min(share[1], len(segments)))
        self._batches = [segments[number::count] for number in range(count)][share[0] :: share[1]]
        self._windows = {segment: torch.empty(0, dtype=torch.long) for segment in segments}
        self.filled = min(of_level.filled)
        self.new = 0

    def __iter__(self) -> Iterator[range]:
        songs = range(len(self.piece.request.songs))
        waiting = [batch for batch in reversed(self._batches) if not all(map(self._is_kept, batch))]
        while waiting:
            batch = waiting.pop()
            try:
                sampler = LevelSampler(self.prior, self._task(batch), draw_code=self.draw_code)
                for done in sampler:
                    at = done - 1
                    self.new = sum(segment.window.known <= at for segment in batch)
                    yield songs
                for segment, codes in zip(batch, sampler.task.codes.cpu(), strict=True):
                    self._windows[segment] = codes
                self.collect()
                continue
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or len(batch) == 1:
                    raise
            # Out here nothing holds on to the tensors of the failed step any more.
            clear_device_cache(garbage_collection=True)
            logger.warning("Memory does not suffice for %d segments at a time; drawing half as many.", len(batch))
            waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]

    @property
    def windows(self) -> dict[Segment, torch.Tensor]:
        """What has been drawn of each segment, warm-up included."""
        return {segment: codes for segment, codes in self._windows.items() if len(codes)}

    def add(self, windows: dict[Segment, torch.Tensor]) -> None:
        """Take over what other processes have drawn."""
        self._windows |= windows
        self.collect()

    def collect(self) -> None:
        """Bring the piece up to date with the segments that are finished."""
        of_level = self.piece.levels[self.level]
        gaps = dict.fromkeys(range(len(of_level.filled)), of_level.total)
        for segment, codes in self._windows.items():
            window = segment.window
            begin = window.start + window.known
            if len(codes):
                of_level.codes[segment.song, begin : window.end] = codes[window.known :]
            elif not self._is_kept(segment):
                gaps[segment.song] = min(gaps[segment.song], begin)
        for song, gap in gaps.items():
            of_level.filled[song] = max(of_level.filled[song], gap)
        self.filled = min(of_level.filled)

    def seams(self, song: int) -> list[Seam]:
        """Where the segments of a song meet, as far as this run has drawn them, in order."""
        of_song = [(segment.window, codes) for segment, codes in self.windows.items() if segment.song == song]
        seams = [Seam(window.start + window.known, codes[: window.known]) for window, codes in of_song]
        known = self.piece.levels[self.level].known[song]
        return sorted((seam for seam in seams if seam.position > known), key=lambda seam: seam.position)

    def _is_kept(self, segment: Segment) -> bool:
        """Whether an earlier run has drawn it."""
        return segment.window.end <= self.piece.levels[self.level].filled[segment.song]

    def _task(self, batch: Sequence[Segment]) -> LevelTask:
        request, of_level, ratio = self.piece.request, self.piece.levels[self.level], self.prior.config.upsampling_ratio
        upper = self.piece.levels[self.level + 1].codes
        rows = [(segment.song, segment.window.start, segment.window.end) for segment in batch]
        songs = [request.songs[song] for song, _, _ in rows]
        noise = uniform_noise([song.key for song in songs], self.level, of_level.total)
        length = of_level.total if not rows else rows[0][2] - rows[0][1]
        return LevelTask(
            codes=torch.stack([of_level.codes[song, start:end] for song, start, end in rows]).to(self.device),
            known=[max(of_level.known[song] - start, 0) for song, start, _ in rows],
            hop=length,
            noise=torch.stack([of_row[start:end] for of_row, (_, start, end) in zip(noise, rows, strict=True)]).to(
                self.device
            ),
            settings=request.settings[self.level],
            upper_codes=torch.stack([upper[song, start // ratio : -(-end // ratio)] for song, start, end in rows]).to(
                self.device
            ),
            # An upsampler takes artist and genre from the labels; it does not look at the time.
            labels_at=None if self.labels_of is None else self.labels_of(songs),
        )


def fade_seams(
    audio: torch.Tensor,
    codes: torch.Tensor,
    seams: Sequence[Seam],
    decode: Callable[[torch.Tensor], torch.Tensor],
    hop: int,
    fade: int,
) -> None:
    """Cross-fade `audio` `[T]`, decoded from `codes`, into each segment's own decoding, in place.

    Up to the seam a segment is decoded after its own warm-up, not after its neighbour's codes; the last `fade` codes
    before the seam go from the one to the other.
    """
    for seam in seams:
        warm_up, position = len(seam.warm_up), seam.position
        own = decode(torch.cat([seam.warm_up, codes[position : position + 2 * warm_up]]))
        length = min(fade, warm_up)
        first, at = (position - length) * hop, position * hop
        ramp = torch.linspace(0, 1, length * hop)
        audio[first:at] = audio[first:at].lerp(own[(warm_up - length) * hop : warm_up * hop], ramp)
        # Further on than the decoder reaches both are the same; the last codes lack what follows them.
        end = position + warm_up if position + 2 * warm_up < len(codes) else len(codes)
        audio[at : end * hop] = own[warm_up * hop : (warm_up + end - position) * hop]
