"""What a prior is conditioned on: the codes of the level above, and the labels of the song."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .autoencoder import UpsamplingStage
from .resnet import ResidualShape
from .transformer import LayerNorm


class UpperCodesConditioner(nn.Module):
    """Codes of the level above `[B, T]` to a conditioning `[B, T * prod(strides), width]` (paper section 4.2)."""

    def __init__(self, codebook_size: int, width: int, strides: Sequence[int], shape: ResidualShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, width)
        self.upsampler = UpsamplingStage(width, width, strides, shape, reverse=False)
        self.norm = LayerNorm(width)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(codes).transpose(1, 2)  # [B, width, T]
        return self.norm(self.upsampler(hidden).transpose(1, 2))


class LabelEmbedding(nn.Module):
    """Artist and genres: a label row `[B, label_length]` to one vector `[B, 1, width]` that starts a window."""

    def __init__(self, num_artists: int, num_genres: int, genre_words: int, width: int) -> None:
        super().__init__()
        self.genre_words = genre_words
        self.artist = nn.Embedding(num_artists, width)
        self.genre = nn.Embedding(num_genres, width)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        artist, genres = labels[:, 3:4], labels[:, 4 : 4 + self.genre_words]
        words = self.genre(genres.clamp_min(0)) * (genres >= 0)[..., None]  # an empty slot contributes nothing
        return self.artist(artist) + words.sum(1, keepdim=True)


class TimingEmbedding(nn.Module):
    """Where a window lies in its song: a label row to `[B, n_ctx, width]` (paper section 4.3).

    Three tables are summed: the song's length, the absolute position, and the position as a share of the song.
    """

    def __init__(self, bins: int, width: int, n_ctx: int, min_length: float, max_length: float) -> None:
        super().__init__()
        self.bins = bins
        self.n_ctx = n_ctx
        self.min_length = min_length  # raw samples
        self.max_length = max_length
        self.total_length = nn.Embedding(bins, width)
        self.absolute_position = nn.Embedding(bins, width)
        self.relative_position = nn.Embedding(bins, width)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        total, offset, window = (labels[:, i : i + 1].float() for i in range(3))
        share = torch.arange(self.n_ctx, device=labels.device, dtype=torch.float32)[None] / self.n_ctx
        start, end = offset / total, ((offset + window) / total).clamp_max(1.0)
        return (
            self.total_length(self._bin(total, self.min_length, self.max_length))
            + self.absolute_position(self._bin(offset + window * share, 0.0, self.max_length))
            + self.relative_position(self._bin(start + (end - start) * share, 0.0, 1.0))
        )

    def check(self, labels: torch.Tensor) -> None:
        """Raise a ValueError for the first row whose song or window lies outside the tables."""
        for total, offset, window in labels[:, :3].tolist():
            if not self.min_length <= total < self.max_length:
                raise ValueError(
                    f"The song's total length of {total} samples is outside what the model knows: at least "
                    f"{self.min_length:.0f} and less than {self.max_length:.0f}; set total_length_in_s accordingly."
                )
            if not 0 <= offset < total:
                raise ValueError(f"The offset of {offset} samples must lie inside the song of {total} samples.")
            if offset + window > self.max_length:
                raise ValueError(
                    f"A window of {window} samples at offset {offset} ends after {self.max_length:.0f} samples, "
                    "the longest song that the model knows; ask for a shorter piece or a smaller offset."
                )

    def _bin(self, value: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return (self.bins * (value - low) / (high - low)).floor().long().clamp(0, self.bins - 1)
