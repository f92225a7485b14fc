"""Separate encoder of the lyrics."""

from __future__ import annotations

import torch
from torch import nn

from .fast_paths import Linear
from .transformer import LayerNorm, Transformer, TransformerShape


class LyricsEncoder(nn.Module):
    """A causal transformer over lyric tokens `[B, n_lyrics]` to states `[B, n_lyrics, out_width]`.

    Its input is shifted right by one, so that the state at a character can predict it.
    """

    def __init__(self, vocab_size: int, shape: TransformerShape, out_width: int) -> None:
        super().__init__()
        width = shape.attention.width
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(shape.attention.positions, width))
        self.start_embedding = nn.Parameter(torch.empty(width))
        self.transformer = Transformer(shape)
        self.proj = Linear(width, out_width)
        self.norm = LayerNorm(out_width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        start = self.start_embedding.expand(tokens.shape[0], 1, -1)
        hidden = torch.cat([start, self.token_embedding(tokens[:, :-1])], dim=1) + self.position_embedding
        return self.norm(self.proj(self.transformer(hidden)))
