"""Parallel sampling of a level: segments side by side, instead of one window after the other.

A segment is one window of the prior, conditioned on the upper codes and on any prompt, but not on its neighbours. It
starts `WARM_UP` of a window before the codes that are kept of it. These warm-up codes give it context; they are sampled
with the same random numbers as the same positions of the segment before, and are kept only for the cross-fade at the
seam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    hop = round_hop(n_ctx, 1 - WARM_UP, upsampling_ratio)
    return [
        Span(song, window, warms_up=window.start + window.context > song_known)
        for song, song_known in enumerate(num_known)
        for window in plan_windows(total, n_ctx, hop, song_known)
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

    Around a seam, a segment is decoded after its own warm-up codes instead of its neighbour's codes; the last `fade`
    codes before the seam are cross-faded.

    Args:
        audio: Decoded codes, changed in place.
        codes: Codes of a song, `[T_level]`.
        seams: Seams of the song.
        decode: Decodes codes `[t]` to audio `[t * hop]`.
        hop: Raw samples per code.
        fade: Length of the cross-fade in codes, limited to the warm-up.
    """
    for seam in seams:
        warm_up, position = len(seam.warm_up), seam.position
        own = decode(torch.cat([seam.warm_up, codes[position : position + 2 * warm_up]]))
        length = min(fade, warm_up)
        first, at = (position - length) * hop, position * hop
        ramp = torch.linspace(0, 1, length * hop)
        audio[first:at] = audio[first:at].lerp(own[(warm_up - length) * hop : warm_up * hop], ramp)
        # Beyond the decoder's receptive field both are equal; the last codes have no right context.
        end = position + warm_up if position + 2 * warm_up < len(codes) else len(codes)
        audio[at : end * hop] = own[warm_up * hop : (warm_up + end - position) * hop]
