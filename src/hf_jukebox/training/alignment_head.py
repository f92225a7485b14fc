"""Which layer and head of a prior with lyrics follow the words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ..layers.attention import AttentionKind
from ..layers.transformer import RecordedOutputs
from ..modeling_prior import JukeboxPrior

_READS_LYRICS = (AttentionKind.LYRICS, AttentionKind.JOINT_LYRICS)


@torch.no_grad()
def find_alignment(prior: JukeboxPrior, batches: Iterable[dict[str, Any]]) -> tuple[int, int, float]:
    """Layer and head whose attention moves through the lyrics as the song goes on.

    Sung words come in order: a head that follows them looks at later characters at later codes. So every head of every
    layer that reads lyrics is judged by the correlation, over the codes of a window, of time with the character that it
    looks at on average. A code counts as much as its attention falls on lyrics, and so does the window. In a
    one-sequence prior dense layers read lyrics too.

    Args:
        prior: With lyrics, in evaluation mode.
        batches: Inputs of the prior; a few windows with singing suffice.

    Returns:
        Layer, head and their score, at most 1.

    Raises:
        ValueError: the prior reads no lyrics, or there are no windows with any.
    """
    reading = {*_READS_LYRICS, AttentionKind.DENSE} if prior.config.num_joint_lyrics else _READS_LYRICS
    layers = [layer for layer, kind in enumerate(prior.transformer.kinds) if kind in reading]
    heads = [(layer, head) for layer in layers for head in range(prior.config.num_attention_heads)]
    if not heads:
        raise ValueError("This prior reads no lyrics, so nothing in it can be aligned.")
    scores: dict[tuple[int, int], list[torch.Tensor]] = {pair: [] for pair in heads}
    for batch in batches:
        attentions = _attentions(prior, batch["codes"], batch["labels"], heads)
        characters = batch["labels"][:, -prior.config.n_lyrics :] > 0  # the padding is no lyrics
        with_words = characters.any(1)
        for pair, attention in attentions.items():
            scores[pair].append(follows(attention, characters)[with_words])
    judged = {
        pair: torch.cat(values).mean().item() for pair, values in scores.items() if values and len(torch.cat(values))
    }
    if not judged:
        raise ValueError(
            "There are no windows with lyrics, so no head can be seen to follow them; add songs with lyrics."
        )
    best = max(judged, key=lambda pair: judged[pair])
    return *best, judged[best]


def follows(attention: torch.Tensor, characters: torch.Tensor) -> torch.Tensor:
    """How well attention `[B, T, n_lyrics]` moves forward through `characters` `[B, n_lyrics]`, `[B]`."""
    weights = attention * characters[:, None]
    on_lyrics = weights.sum(-1)  # [B, T]
    place = torch.arange(attention.shape[-1], device=attention.device, dtype=weights.dtype)
    looked_at = (weights @ place) / on_lyrics.clamp_min(1e-8)
    time = torch.arange(attention.shape[1], device=attention.device, dtype=weights.dtype).expand_as(looked_at)
    return _correlation(looked_at, time, on_lyrics) * on_lyrics.mean(-1)


def _attentions(
    prior: JukeboxPrior, codes: torch.Tensor, labels: torch.Tensor, heads: list[tuple[int, int]]
) -> dict[tuple[int, int], torch.Tensor]:
    """The attention of several heads from codes to lyrics, `[B, T, n_lyrics]` each; see `JukeboxPrior.alignment`."""
    config = prior.config
    recorded = RecordedOutputs(heads=heads)
    inputs, _ = prior._embed(codes, labels, prior._conditioning(None, labels))
    prior.transformer(inputs, prior._lyrics_states(labels), recorded=recorded)
    return {pair: each[:, config.num_joint_lyrics :, : config.n_lyrics] for pair, each in recorded.attentions.items()}


def _correlation(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Pearson's, of each row, with weighted entries, `[B]`."""
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-8)
    x, y = (each - (weights * each).sum(-1, keepdim=True) for each in (x, y))
    covariance, x_variance, y_variance = ((weights * each).sum(-1) for each in (x * y, x * x, y * y))
    return covariance / (x_variance * y_variance).sqrt().clamp_min(1e-6)
