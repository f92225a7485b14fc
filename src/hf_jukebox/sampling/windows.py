"""Positions of the windows of a level. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Window:
    """Codes `start` to `end` of a level; the first `context` of them exist already."""

    start: int
    end: int
    context: int

    def upper(self, ratio: int) -> slice:
        """Return the codes of the level above that cover the window, each `ratio` codes of this level long."""
        return slice(self.start // ratio, -(-self.end // ratio))


@dataclass(frozen=True)
class Span:
    """Codes that one row of a batch samples: those of a whole song, or of a segment of it.

    Args:
        song: Index of the song in the piece.
        window: Position in the song; the first `context` codes are the context of those that are kept.
        warms_up: True if the row samples its own context, which is then discarded (warm-up), instead of reading
            existing codes.
    """

    song: int
    window: Window
    warms_up: bool = False

    @property
    def begin(self) -> int:
        """First code of the song that is kept."""
        return self.window.start + self.window.context

    @property
    def end(self) -> int:
        return self.window.end

    @property
    def length(self) -> int:
        """Number of codes, context included."""
        return self.window.end - self.window.start


def round_hop(n_ctx: int, hop_fraction: float, upsampling_ratio: int) -> int:
    """Return the codes from one window's start to the next: `hop_fraction * n_ctx`, rounded to whole upper codes."""
    return max(round(hop_fraction * n_ctx / upsampling_ratio), 1) * upsampling_ratio


def plan_windows(total: int, n_ctx: int, hop: int, num_known: int, upsampling_ratio: int = 1) -> list[Window]:
    """Plan the windows that sample the codes from `num_known` to `total` of a level.

    Windows start at 0, hop, 2 hop ..., the last moved back to end exactly at `total`; windows without new codes are
    skipped. A total shorter than a window is sampled in a part of one. So is the end of a total that is no multiple of
    `upsampling_ratio`, since a window starts with a whole code of the level above.
    """
    last = -(-max(total - n_ctx, 0) // upsampling_ratio) * upsampling_ratio
    starts = [*range(0, last, hop), last]
    windows = []
    for start in starts:
        end = min(start + n_ctx, total)
        if end > num_known:
            windows.append(Window(start, end, num_known - start))
            num_known = end
    return windows


def split_evenly(rows: Sequence[Span], most: int) -> list[tuple[Span, ...]]:
    """Split rows into as few parts of at most `most` as possible, whose sizes differ by one at most, larger ones first.

    A step is compiled or captured for one number of rows, and an even split needs no more than two. What is left after
    some of the parts is split into the others again.
    """
    if not rows:
        return []
    num_parts = -(-len(rows) // most)
    size, num_larger = divmod(len(rows), num_parts)
    ends = [size * n + min(n, num_larger) for n in range(num_parts + 1)]
    return [tuple(rows[first:end]) for first, end in pairwise(ends)]
