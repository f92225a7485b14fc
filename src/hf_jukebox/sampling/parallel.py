"""A level as segments that are drawn side by side, instead of one window after the other.

A segment is one window of the prior that knows nothing of its neighbours but the codes of the level above, and what a
prompt gives. It begins `WARM_UP` of a window before the codes that are kept of it: these first codes settle it, are
drawn from the very random numbers with which the segment before drew the same places, and are then thrown away, but
for a cross-fade at the seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .windows import Span, plan_windows, round_hop

WARM_UP = 1 / 8  # of a window


@dataclass(frozen=True)
class Seam:
    """Where a segment takes over, and the codes `[warm_up]` that it had drawn before."""

    position: int
    warm_up: torch.Tensor


def plan_segments(total: int, n_ctx: int, upsampling_ratio: int, known: Sequence[int]) -> list[Span]:
    """The segments that draw `total` codes of every song, of which the first `known[song]` exist, in their order."""
    hop = round_hop(n_ctx, 1 - WARM_UP, upsampling_ratio)
    return [
        Span(song, window, warms_up=window.start + window.known > of_song)
        for song, of_song in enumerate(known)
        for window in plan_windows(total, n_ctx, hop, of_song)
    ]


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
