"""The timing of lyrics, reduced from an alignment to a small file beside the audio."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F

from ..files.tensors import read_tensors, write_tensors
from ..sampling.lyric_alignment import LyricAlignment

_ROWS, _COLUMNS = 320, 720


@dataclass(frozen=True)
class LyricTiming:
    """Timing of lyrics: the character sung at each code.

    Attributes:
        text: Lyrics as the prior uses them.
        characters: Character that each top-level code attends to most, int32 `[T]`; -1 where it attends to none.
        codes_per_second: Code t sounds from `t / codes_per_second` on.
        overview: Alignment map as a small picture, uint8 `[rows, columns]`: the first character on top, time from
            left to right.
    """

    text: str
    characters: torch.Tensor
    codes_per_second: float
    overview: torch.Tensor

    @classmethod
    def of(cls, alignment: LyricAlignment) -> Self:
        """Reduce an alignment."""
        return cls(alignment.text, alignment.peaks().int(), alignment.codes_per_second, _overview(alignment.weights))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, atomically.

        Raises:
            OSError: it cannot be written.
        """
        tensors = {"characters": self.characters, "overview": self.overview}
        write_tensors(Path(path), tensors, {"text": self.text, "codes_per_second": self.codes_per_second})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or holds something else.
        """
        tensors, texts = read_tensors(Path(path))
        try:
            rate = float(texts["codes_per_second"])
            sung = cls(texts["text"], tensors["characters"], rate, tensors["overview"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} holds no timing of lyrics; remove it, and it is written again.") from error
        characters, overview = sung.characters, sung.overview
        is_timing = characters.dtype == torch.int32 and characters.dim() == 1 and 0 < rate < float("inf")
        is_within = characters.numel() == 0 or -1 <= int(characters.min()) <= int(characters.max()) < len(sung.text)
        if not (is_timing and is_within and overview.dtype == torch.uint8 and overview.dim() == 2):
            raise ValueError(f"{path} holds no timing of lyrics; remove it, and it is written again.")
        return sung


def _overview(weights: torch.Tensor) -> torch.Tensor:
    """Return a map `[T, characters]` as a picture, uint8 `[rows, columns]`; a pixel is the maximum of its cells."""
    if weights.numel() == 0:
        return torch.zeros(0, 0, dtype=torch.uint8)
    size = min(weights.shape[1], _ROWS), min(weights.shape[0], _COLUMNS)
    pooled = F.adaptive_max_pool2d(weights.T[None], size)[0]
    # The median peak of the columns is white, so that a single spike does not darken the rest.
    white = pooled.amax(dim=0).median().clamp_min(1e-12)
    return ((pooled / white).clamp(0, 1).pow(0.7) * 255).round().to(torch.uint8)
