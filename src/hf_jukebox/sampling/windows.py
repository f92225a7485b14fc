"""Where the windows of a level lie. Integers only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Codes `start` to `end` of a level, of which the first `known` exist already and are the context."""

    start: int
    end: int
    known: int


@dataclass(frozen=True)
class Span:
    """What one row of a batch draws: a song from end to end, or a segment of it.

    Args:
        song: Its number in the piece.
        window: Where the stretch lies in the song; its first `known` codes are not kept of it.
        warms_up: Whether it draws these first codes itself, beside those of the stretch before it; else they exist.
    """

    song: int
    window: Window
    warms_up: bool = False

    @property
    def begin(self) -> int:
        """The first code of the song that is kept of it."""
        return self.window.start + self.window.known

    @property
    def end(self) -> int:
        return self.window.end

    @property
    def length(self) -> int:
        """Codes from its start, kept or not, to its end."""
        return self.window.end - self.window.start


def round_hop(n_ctx: int, hop_fraction: float, upsampling_ratio: int) -> int:
    """Codes from one window's start to the next: `hop_fraction * n_ctx`, rounded to whole codes of the level above."""
    return max(round(hop_fraction * n_ctx / upsampling_ratio), 1) * upsampling_ratio


def plan_windows(total: int, n_ctx: int, hop: int, known: int) -> list[Window]:
    """The windows that draw codes `known` to `total` of a level.

    Windows start at 0, hop, 2 hop ..., the last moved back to end exactly at `total`; those with nothing left to draw
    are skipped. A total shorter than a window is drawn as a part of one.
    """
    last = max(total - n_ctx, 0)
    starts = [*range(0, last, hop), last]
    windows = []
    for start in starts:
        end = min(start + n_ctx, total)
        if end > known:
            windows.append(Window(start, end, known - start))
            known = end
    return windows
