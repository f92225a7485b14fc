"""Timing of the lyrics, from the attention of a top prior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..labels.lyrics import NO_CHARACTER
from ..modeling_prior import JukeboxPrior
from ..tokenization_jukebox import JukeboxTokenizer
from .request import SongConditioning
from .window_labels import WindowLabels
from .windows import Window, plan_windows


@dataclass(frozen=True)
class LyricAlignment:
    """Attention from each top-level code to each character of the lyrics.

    Attributes:
        text: Lyrics in the alphabet of the prior.
        weights: float32 `[T, len(text)]` on the CPU; a row sums to at most about 1, as the rest is on padding or codes.
        codes_per_second: Rate of the top level; code t starts at `t / codes_per_second`.
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
        """Return the index of the character that each code attends to most, int64 `[T]`; -1 if it attends to none."""
        if not self.text:
            return torch.full(self.weights.shape[:1], NO_CHARACTER, device="cpu")
        weight, character = self.weights.max(dim=1)
        return character.masked_fill(weight == 0, NO_CHARACTER)


def why_not_aligned(config: JukeboxPriorConfig | None) -> str | None:
    """Return one sentence on why a prior cannot align lyrics, or None if it can."""
    if config is None or config.lyrics_scheme is None:
        return "This model does not use lyrics."
    if config.alignment_layer is None or config.alignment_head is None:
        return "This model uses lyrics, but its config names no alignment_layer and alignment_head to align them by."
    return None


def align_lyrics(
    prior: JukeboxPrior, tokenizer: JukeboxTokenizer, codes: torch.Tensor, song: SongConditioning, hop: int
) -> LyricAlignment:
    """Align the lyrics of one song with its codes: paste together the attention maps of its windows.

    Args:
        prior: Top prior with lyrics, and an alignment layer and head in its config.
        tokenizer: Tokenizer that labels the windows.
        codes: Top-level codes of the song, `[T]`.
        song: Labels, and place of the piece in its song.
        hop: Codes from one window's start to the next; that of the sampling gives the attention of the sampling.

    Raises:
        ValueError: the prior cannot align lyrics.
    """
    config = prior.config
    if reason := why_not_aligned(config):
        raise ValueError(reason)
    total = codes.shape[0]
    text = tokenizer.clean_lyrics(song.lyrics or "", level=config.level)
    windows = plan_windows(total, config.n_ctx, hop, num_known=0) if text else []
    labels = WindowLabels(tokenizer, config)

    def attention_map(window: Window) -> tuple[int, torch.Tensor, torch.Tensor]:
        rows = labels.for_songs([song], [window.start])
        offset = song.offset + window.start * config.hop_length
        characters = labels.lyric_indices(total_length=song.total_length, offset=offset, lyrics=song.lyrics)[0]
        # A piece shorter than a window needs no padding: attention is causal.
        window_codes = codes[None, window.start : window.end].to(prior.device)
        weights = prior.alignment(window_codes, rows.to(prior.device))[0]
        return window.start, characters, weights.float().cpu()

    # Only one map is in memory at a time: those of a whole song are many times as large as the result.
    weights = paste_maps(map(attention_map, reversed(windows)), total, len(text))
    return LyricAlignment(text, weights, config.sampling_rate / config.hop_length)


def paste_maps(maps: Iterable[tuple[int, torch.Tensor, torch.Tensor]], total: int, num_characters: int) -> torch.Tensor:
    """Paste the attention maps of windows into one, `[total, num_characters]`.

    Where windows overlap, the earlier one wins, in the columns of its own lyrics only; padding is dropped.

    Args:
        maps: Per window, the last one first: its first code, the index of the character in each lyric slot
            `[n_lyrics]` (-1 is padding), and the weights `[T, n_lyrics]`.
    """
    pasted = torch.zeros(total, num_characters, dtype=torch.float32, device="cpu")
    for start, characters, weights in maps:
        slots = (characters != NO_CHARACTER).nonzero()[:, 0]
        pasted[start : start + weights.shape[0], characters[slots]] = weights[:, slots]
    return pasted
