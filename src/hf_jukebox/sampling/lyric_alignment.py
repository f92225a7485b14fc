"""When which character of the lyrics is sung, read from the attention of a top prior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..labels.lyrics import NO_CHARACTER
from ..modeling_prior import JukeboxPrior
from ..tokenization_jukebox import JukeboxTokenizer
from .request import SongConditioning
from .windows import Window, plan_windows


@dataclass(frozen=True)
class LyricAlignment:
    """How much each top-level code attends to each character of the lyrics.

    Attributes:
        text: The lyrics as the prior reads them.
        weights: float32 `[T, len(text)]` on the CPU; a row sums to at most about 1, the rest fell on padding or codes.
        codes_per_second: Of the top level: code t sounds from `t / codes_per_second` on.
    """

    text: str
    weights: torch.Tensor
    codes_per_second: float

    def __post_init__(self) -> None:
        if self.weights.dim() != 2 or self.weights.shape[1] != len(self.text):
            raise ValueError(
                f"The alignment of {len(self.text)} characters needs weights [T, {len(self.text)}], not "
                f"{list(self.weights.shape)}."
            )

    def peaks(self) -> torch.Tensor:
        """The character that each code attends to most, int64 `[T]`; -1 where it attends to none."""
        if not self.text:
            return torch.full(self.weights.shape[:1], NO_CHARACTER)
        weight, character = self.weights.max(dim=1)
        return character.masked_fill(weight == 0, NO_CHARACTER)


def why_not_aligned(config: JukeboxPriorConfig | None) -> str | None:
    """Why a prior cannot align lyrics, in one sentence; None where it can."""
    if config is None or config.lyrics_scheme is None:
        return "This model reads no lyrics."
    if config.alignment_layer is None or config.alignment_head is None:
        return "This model reads lyrics, but its config names no alignment_layer and alignment_head to align them by."
    return None


def align_lyrics(
    prior: JukeboxPrior, tokenizer: JukeboxTokenizer, codes: torch.Tensor, song: SongConditioning, hop: int
) -> LyricAlignment:
    """Score the codes of one song window by window, and paste the windows' attention maps together.

    Args:
        prior: A top prior with lyrics, and an alignment layer and head in its config.
        tokenizer: Labels the windows.
        codes: The song's top-level codes, `[T]`.
        song: Labels and place of the piece in its song.
        hop: Codes from one window's start to the next; as in drawing, for maps of what the draw saw.

    Raises:
        ValueError: the prior cannot align lyrics.
    """
    config = prior.config
    if reason := why_not_aligned(config):
        raise ValueError(reason)
    total = codes.shape[0]
    text = tokenizer.clean_lyrics(song.lyrics or "", level=config.level)
    windows = plan_windows(total, config.n_ctx, hop, known=0) if text else []

    def map_of(window: Window) -> tuple[int, torch.Tensor, torch.Tensor]:
        span: dict[str, Any] = {
            "level": config.level,
            "total_length": song.total_length,
            "offset": song.offset + window.start * config.hop_length,
            "window_length": config.window_length,
            "lyrics": song.lyrics,
            "allow_beyond": True,
        }
        labels = tokenizer(artist=song.artist, genre=song.genre, **span)["labels"]
        # A piece shorter than a window needs no padding: attention is causal, so what would follow changes nothing.
        of_window = codes[None, window.start : window.end].to(prior.device)
        weights = prior.alignment(of_window, labels.to(prior.device))[0]
        return window.start, tokenizer.lyric_indices(**span)[0], weights.float().cpu()

    # One window's map is in memory at a time: a whole song of them is many times the result.
    weights = paste_maps(map(map_of, reversed(windows)), total, len(text))
    return LyricAlignment(text, weights, config.sampling_rate / config.hop_length)


def paste_maps(maps: Iterable[tuple[int, torch.Tensor, torch.Tensor]], total: int, num_characters: int) -> torch.Tensor:
    """Windows' maps in one, `[total, num_characters]`.

    Where windows overlap the earlier one wins, in the columns of its own lyrics alone; padding is dropped.

    Args:
        maps: Of each window, the last one first: its first code, the character in each lyric slot `[n_lyrics]` (-1 is
            padding), and the weights `[T, n_lyrics]`.
    """
    pasted = torch.zeros(total, num_characters)
    for start, characters, weights in maps:
        slots = (characters != NO_CHARACTER).nonzero()[:, 0]
        pasted[start : start + weights.shape[0], characters[slots]] = weights[:, slots]
    return pasted
