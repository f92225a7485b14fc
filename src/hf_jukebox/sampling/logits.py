"""Drawing one code from its logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from .values import number, whole_number

_Seed = Annotated[int, Field(ge=0, lt=2**64)]
SongKey = tuple[_Seed, _Seed]  # (seed, number of the song under that seed)


@dataclass(frozen=True)
class SamplingSettings:
    """How a level is drawn; `temperature=1, top_k=1` is greedy.

    Args:
        temperature: Logits are divided by it; above 0.
        top_k: Keep the most likely codes, ties included; 0 keeps all.
        top_p: Keep the most likely codes until their sum first exceeds it, at least one; 0 keeps all.
    """

    temperature: float = 0.99
    top_k: int = 0
    top_p: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", number("temperature", self.temperature))
        object.__setattr__(self, "top_k", whole_number("top_k", self.top_k))
        object.__setattr__(self, "top_p", number("top_p", self.top_p))
        if not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"temperature must be above 0 and finite, not {self.temperature}; to draw greedily use temperature=1 "
                "and top_k=1."
            )
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or a number of codes, not {self.top_k}.")
        if not 0 <= self.top_p < 1:
            raise ValueError(f"top_p must be 0 (off) or lie between 0 and 1, not {self.top_p}.")
        if self.top_k and self.top_p:
            raise ValueError("Use top_k or top_p, not both.")


def draw(logits: torch.Tensor, noise: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
    """Codes `[B]` from `logits` `[B, codebook_size]` and `noise` `[B]`, uniform in [0, 1).

    The code is looked up in the cumulative distribution, so that one number decides one code.
    """
    logits = logits.float() / settings.temperature
    if settings.top_k:
        smallest = logits.topk(min(settings.top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    elif settings.top_p:
        ordered, order = logits.sort(dim=-1, descending=True)
        share = ordered.softmax(-1)
        too_late = share.cumsum(-1) - share > settings.top_p  # the sum before this code exceeds top_p already
        logits = logits.masked_fill(too_late.scatter(-1, order, too_late), float("-inf"))
    cumulative = logits.softmax(-1).cumsum(-1)
    code = (cumulative <= noise[:, None] * cumulative[:, -1:]).sum(-1)
    return code.clamp_max(logits.shape[-1] - 1)


def uniform_noise(songs: Sequence[SongKey], level: int, total: int) -> torch.Tensor:
    """Random numbers `[B, total]` in [0, 1) for the codes of a level.

    Each depends on (seed, song, level, position) alone: not on the batch, the number of processes or a retry, nor on
    `total`, so that a longer piece begins like a shorter one.
    """
    rows = [np.random.Generator(np.random.Philox(np.random.SeedSequence([*song, level]))) for song in songs]
    return torch.from_numpy(np.stack([row.random(total, dtype=np.float32) for row in rows]))
