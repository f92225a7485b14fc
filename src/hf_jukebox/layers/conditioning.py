"""Conditioning of a prior: the codes of the level above, and the labels of the song."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from .autoencoder import UpsamplingStage
from .float32 import full_float32
from .resnet import ResidualShape
from .transformer import LayerNorm


@dataclass(frozen=True)
class LabelColumns:
    """Columns of a label row: timing in raw samples, the artist, the genres, and the lyric tokens."""

    total_length: ClassVar[int] = 0
    offset: ClassVar[int] = 1
    window_length: ClassVar[int] = 2
    timing: ClassVar[slice] = slice(0, 3)
    artist: ClassVar[int] = 3

    genre_words: int
    n_lyrics: int = 0

    @property
    def genres(self) -> slice:
        return slice(4, 4 + self.genre_words)

    @property
    def lyrics(self) -> slice:
        return slice(self.genres.stop, self.genres.stop + self.n_lyrics)

    @property
    def length(self) -> int:
        """Number of columns."""
        return int(self.lyrics.stop)


class UpperCodesConditioner(nn.Module):
    """Upsampling of the upper codes `[B, T]` to a conditioning `[B, T * prod(strides), width]` (paper section 4.2)."""

    def __init__(self, codebook_size: int, width: int, strides: Sequence[int], shape: ResidualShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, width)
        self.upsampler = UpsamplingStage(width, width, strides, shape, reverse=False)
        self.norm = LayerNorm(width)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(codes).transpose(1, 2)  # [B, width, T]
        with full_float32():
            return self.norm(self.upsampler(hidden).transpose(1, 2))


class LabelEmbedding(nn.Module):
    """Embedding of artist and genres: label rows `[B, label_length]` to a window's first input `[B, 1, width]`."""

    def __init__(self, num_artists: int, num_genres: int, genre_words: int, width: int) -> None:
        super().__init__()
        self.columns = LabelColumns(genre_words)
        self.artist = nn.Embedding(num_artists, width)
        self.genre = nn.Embedding(num_genres, width)

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        artist, genres = labels[:, self.columns.artist, None], labels[:, self.columns.genres]
        words = self.genre(genres.clamp_min(0)) * (genres >= 0)[..., None]  # an empty slot contributes nothing
        return self.artist(artist) + words.sum(1, keepdim=True)


class TimingEmbedding(nn.Module):
    """Embedding of a window's place in its song: label rows to `[B, n_ctx, width]` (paper section 4.3).

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
        total, offset, window = labels[:, LabelColumns.timing, None].float().unbind(1)  # [B, 1] each
        share = torch.arange(self.n_ctx, device=labels.device, dtype=torch.float32)[None] / self.n_ctx
        start, end = offset / total, ((offset + window) / total).clamp_max(1.0)
        return (
            self.total_length(self._bin(total, self.min_length, self.max_length))
            + self.absolute_position(self._bin(offset + window * share, 0.0, self.max_length))
            + self.relative_position(self._bin(start + (end - start) * share, 0.0, 1.0))
        )

    def _bin(self, value: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return (self.bins * (value - low) / (high - low)).floor().long().clamp(0, self.bins - 1)


def check_timing(labels: torch.Tensor, min_length: float, max_length: float) -> None:
    """Check that songs and windows lie within the tables of a [`TimingEmbedding`]; waits for the labels' device.

    Args:
        labels: Rows `[B, label_length]`.
        min_length, max_length: Shortest and longest song, in samples.

    Raises:
        ValueError: one does not; the message has the first of them.
    """
    for total, offset, window in labels[:, LabelColumns.timing].tolist():
        if not min_length <= total < max_length:
            raise ValueError(
                f"The song's total length of {total} samples is outside the range of the model, from "
                f"{min_length:.0f} to less than {max_length:.0f}; set `total_length_in_s` accordingly."
            )
        if not 0 <= offset < total:
            raise ValueError(f"The offset of {offset} samples must lie inside the song of {total} samples.")
        if offset + window > max_length:
            raise ValueError(
                f"A window of {window} samples at offset {offset} ends after {max_length:.0f} samples, the longest "
                "song of the model; choose a shorter piece or a smaller offset."
            )
