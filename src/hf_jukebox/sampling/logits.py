"""Sampling of one code from its logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from .options import SamplingSettings

_Seed = Annotated[int, Field(ge=0, lt=2**64)]
SongKey = tuple[_Seed, _Seed]  # (seed, index of the song under that seed)


@dataclass
class Exclusion:
    """Codes excluded at the next position.

    Attributes:
        mask: bool `[B, codebook_size]`, True for an excluded code.
        bits: float32 `[B]`, the price: `-log2` of the probability that the other codes have together.
    """

    mask: torch.Tensor
    bits: torch.Tensor


def sample_from_logits(
    logits: torch.Tensor,
    noise: torch.Tensor,
    settings: SamplingSettings,
    temperature: torch.Tensor | None = None,
    exclusion: Exclusion | None = None,
) -> torch.Tensor:
    """Sample codes `[B]` from `logits` `[B, codebook_size]` and `noise` `[B]`, uniform in [0, 1).

    The noise is looked up in the cumulative distribution, so that one number decides one code.

    Args:
        temperature: float32 `()`, used instead of that of `settings`; a compiled step reads it, so that another
            temperature needs no other step.
        exclusion: Codes that get no probability, before the filters; their price is written to it.
    """
    logits = logits.float() / (settings.temperature if temperature is None else temperature)
    if exclusion is not None:
        allowed = logits.masked_fill(exclusion.mask, float("-inf"))
        exclusion.bits.copy_((logits.logsumexp(-1) - allowed.logsumexp(-1)) / math.log(2))
        logits = allowed
    if settings.top_k:
        smallest = logits.topk(min(settings.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    elif settings.top_p:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(-1)
        excluded = probability.cumsum(-1) - probability > settings.top_p  # the codes before it exceed top_p already
        logits = logits.masked_fill(excluded.scatter(-1, order, excluded), float("-inf"))
    cumulative = logits.softmax(-1).cumsum(-1)
    code = (cumulative <= noise[:, None] * cumulative[:, -1:]).sum(-1)
    return code.clamp_max(logits.shape[-1] - 1)


def uniform_noise(songs: Sequence[SongKey], level: int, total: int) -> torch.Tensor:
    """Return the random numbers `[B, total]`, uniform in [0, 1), of the codes of a level.

    Each depends on (seed, song, level, position) alone: not on the batch, the number of processes or retries, nor on
    `total`, so that a longer piece starts like a shorter one.
    """
    rows = [np.random.Generator(np.random.Philox(np.random.SeedSequence([*song, level]))) for song in songs]
    return torch.from_numpy(np.stack([row.random(total, dtype=np.float32) for row in rows]))
