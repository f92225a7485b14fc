"""Parallel sampling of a level: segments side by side, instead of one window after the other.

A segment is one window of the prior, conditioned on the upper codes and on any prompt, but not on its neighbours. It
starts `WARM_UP` of a window before the codes that are kept of it. These warm-up codes give it context; they are sampled
with the same random numbers as the same positions of the segment before, and are kept only for the cross-fade at the
seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .windows import Span, plan_windows, round_hop

WARM_UP = 1 / 8  # of a window


@dataclass(frozen=True)
class Seam:
    """Position at which one segment takes over from another, with its warm-up codes `[warm_up]` before that."""

    position: int
    warm_up: torch.Tensor


def plan_segments(total: int, n_ctx: int, upsampling_ratio: int, num_known: Sequence[int]) -> list[Span]:
    """Plan the segments that sample `total` codes per song, of which the first `num_known[song]` exist, in order."""
    hop = segment_hop(n_ctx, upsampling_ratio)
    return [
        Span(song, window, warms_up=window.start + window.context > song_known)
        for song, song_known in enumerate(num_known)
        for window in plan_windows(total, n_ctx, hop, song_known)
    ]


def segment_hop(n_ctx: int, upsampling_ratio: int) -> int:
    """Return the codes that are kept of a whole segment, which is the distance from one to the next."""
    return round_hop(n_ctx, 1 - WARM_UP, upsampling_ratio)


def fade_seam(
    block: torch.Tensor, start: int, seam: Seam, own: torch.Tensor, length: int, hop: int, fade: int
) -> torch.Tensor:
    """Return a block of a song `[t * hop]`, cross-faded into a segment's own decoding around the seam before it.

    Around a seam, a segment is decoded after its own warm-up codes instead of its neighbour's codes; the last `fade`
    codes before the seam are cross-faded. A block that does not reach the seam is returned unchanged.

    Args:
        block: Audio of the song from code `start` on.
        own: Audio of the warm-up codes and of the `own_codes` after them.
        length: Codes of the song.
        hop: Raw samples per code.
        fade: Length of the cross-fade in codes, limited to the warm-up.
    """
    warm_up, position = len(seam.warm_up), seam.position
    fade = min(fade, warm_up)
    begin, at, end = position - fade, position, _end_of_own(seam, length)
    first, last = max(start, begin), min(start + len(block) // hop, end)
    if first >= last:
        return block
    rise = torch.linspace(0, 1, fade * hop, dtype=block.dtype, device=block.device)
    ramp = torch.cat([rise, rise.new_ones((end - at) * hop)])
    here = slice((first - start) * hop, (last - start) * hop)
    offset = position - warm_up
    faded = block.clone()
    faded[here] = block[here].lerp(
        own[(first - offset) * hop : (last - offset) * hop], ramp[(first - begin) * hop : (last - begin) * hop]
    )
    return faded


def own_codes(codes: torch.Tensor, seam: Seam) -> torch.Tensor:
    """Return the codes `[t]` that a segment is decoded from around its seam: its warm-up, and as many of the song."""
    return torch.cat([seam.warm_up, codes[seam.position : seam.position + 2 * len(seam.warm_up)]])


def _end_of_own(seam: Seam, length: int) -> int:
    """Return the code up to which a segment's own decoding is used.

    Beyond the decoder's receptive field both are equal; the last codes of a song have no right context.
    """
    warm_up, position = len(seam.warm_up), seam.position
    return position + warm_up if position + 2 * warm_up < length else length
