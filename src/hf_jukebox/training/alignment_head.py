"""Search for the attention head of a prior that follows the lyrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..layers.attention import AttentionKind
from ..modeling_prior import JukeboxPrior

_LYRICS_KINDS = (AttentionKind.LYRICS, AttentionKind.JOINT_LYRICS)


@torch.no_grad()
def find_alignment(prior: JukeboxPrior, batches: Iterable[dict[str, Any]]) -> tuple[int, int, float]:
    """Find the layer and head whose attention moves forward through the lyrics with time.

    Sung words come in order: a head that follows them attends to later characters at later codes. So every head of
    every layer that attends to lyrics is scored by `monotonicity`, averaged over windows. In a one-sequence prior that
    includes dense layers.

    Args:
        prior: Prior with lyrics, in evaluation mode.
        batches: Inputs of the prior; a few windows with singing suffice.

    Returns:
        Layer, head and their score, at most 1.

    Raises:
        ValueError: the prior uses no lyrics, or no window has any.
    """
    kinds = {*_LYRICS_KINDS, AttentionKind.DENSE} if prior.config.num_joint_lyrics else _LYRICS_KINDS
    layers = [layer for layer, kind in enumerate(prior.transformer.kinds) if kind in kinds]
    heads = [(layer, head) for layer in layers for head in range(prior.config.num_attention_heads)]
    if not heads:
        raise ValueError("This prior uses no lyrics, so there is no head that could follow them.")
    scores: dict[tuple[int, int], list[torch.Tensor]] = {pair: [] for pair in heads}
    for batch in batches:
        attentions = prior.lyric_attention(batch["codes"], batch["labels"], heads)
        characters = batch["labels"][:, prior.config.label_columns.lyrics] > 0  # 0 is padding
        with_words = characters.any(1)
        for pair, attention in attentions.items():
            scores[pair].append(monotonicity(attention, characters)[with_words])
    means = {
        pair: torch.cat(values).mean().item() for pair, values in scores.items() if values and len(torch.cat(values))
    }
    if not means:
        raise ValueError("There are no windows with lyrics to find the head that follows them; add songs with lyrics.")
    best = max(means, key=lambda pair: means[pair])
    return *best, means[best]


def monotonicity(attention: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """Score from -1 to 1 how steadily attention moves forward through the lyrics.

    It is the correlation, over the codes, of time with the mean position of the attention. Codes, and in the end the
    window, are weighted by the share of attention that falls on lyrics.

    Args:
        attention: Weights `[B, T, n_lyrics]`.
        characters: True for slots that hold a character, `[B, n_lyrics]`.

    Returns:
        `[B]`.
    """
    weights = attention * characters[:, None]
    on_lyrics = weights.sum(-1)  # [B, T]
    position = torch.arange(attention.shape[-1], device=attention.device, dtype=weights.dtype)
    attended = (weights @ position) / on_lyrics.clamp_min(1e-8)
    time = torch.arange(attention.shape[1], device=attention.device, dtype=weights.dtype).expand_as(attended)
    return _correlation(attended, time, on_lyrics) * on_lyrics.mean(-1)


def _correlation(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted Pearson correlation of each row, `[B]`."""
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-8)
    x, y = (each - (weights * each).sum(-1, keepdim=True) for each in (x, y))
    covariance, x_variance, y_variance = ((weights * each).sum(-1) for each in (x * y, x * x, y * y))
    return covariance / (x_variance * y_variance).sqrt().clamp_min(1e-6)
