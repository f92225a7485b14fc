"""Label rows of a prior's windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..labels.vocabulary import LevelVocabulary
from ..tokenization_jukebox import JukeboxTokenizer
from .request import SongConditioning


@dataclass(frozen=True)
class WindowLabels:
    """A tokenizer bound to one prior: the level and the length of a window come from the prior's config.

    Args:
        tokenizer: A tokenizer with the names of the prior's level.
        config: The config of a prior that has labels.

    Raises:
        ValueError: the tokenizer has no names for the prior's level.
    """

    tokenizer: JukeboxTokenizer
    config: JukeboxPriorConfig

    def __post_init__(self) -> None:
        if self.config.level not in self.tokenizer.vocabularies:
            raise ValueError(
                f"The prior of level {self.config.level} has labels, but there are no names for it; give a tokenizer."
            )

    @classmethod
    def from_config(cls, config: JukeboxPriorConfig) -> Self:
        """Use the names and the alphabet that the prior's config carries."""
        vocabularies = {config.level: LevelVocabulary.from_config(config)}
        return cls(JukeboxTokenizer(vocabularies, sampling_rate=config.sampling_rate), config)

    def __call__(self, *, total_length: Any, offset: Any = 0, **labels: Any) -> torch.Tensor:
        """Return the rows `[B, label_length]` of windows at `offset` of songs of `total_length`, both in samples.

        Args:
            labels: `artist`, `genre` and `lyrics`; each one value for all rows, or a list with one per row.

        A window may reach beyond the end of its song, as that of a short song does.
        """
        rows: torch.Tensor = self.tokenizer(**self._window(total_length, offset), **labels)["labels"]
        return rows

    def lyric_indices(self, *, total_length: Any, offset: Any = 0, lyrics: Any = None) -> torch.Tensor:
        """Return the index of the character in each lyric slot of the same rows, `[B, n_lyrics]`; -1 is padding."""
        return self.tokenizer.lyric_indices(**self._window(total_length, offset), lyrics=lyrics)

    def for_songs(self, songs: Sequence[SongConditioning], starts: Sequence[int]) -> torch.Tensor:
        """Return the rows `[B, label_length]` of windows that start at the codes `starts` of their songs."""
        hop = self.config.hop_length
        return self(
            artist=[song.artist for song in songs],
            genre=[song.genre for song in songs],
            lyrics=[song.lyrics for song in songs],
            total_length=[song.total_length for song in songs],
            offset=[
                # What is sampled beyond the end of a song, to the length of a longer one beside it, is cut.
                min(song.offset + start * hop, song.total_length - 1)
                for song, start in zip(songs, starts, strict=True)
            ],
        )

    def _window(self, total_length: Any, offset: Any) -> dict[str, Any]:
        window_length = self.config.window_length
        return {
            "level": self.config.level,
            "window_length": window_length,
            "total_length": total_length,
            "offset": offset,
            "allow_beyond": True,
        }


def covered_length(config: JukeboxPriorConfig, num_samples: int) -> int:
    """Return the length of a recording for the timing labels: its own, within those that the prior was trained on."""
    rate = config.sampling_rate
    shortest, limit = math.ceil(config.min_duration * rate), math.ceil(config.max_duration * rate)
    return min(max(num_samples, shortest), limit - 1)


def labels_of_windows(labels: WindowLabels, song: SongConditioning) -> Callable[[int], torch.Tensor]:
    """Return a function from a window's first code to its label rows `[1, label_length]`.

    In a recording that is longer than the prior was trained on, windows stay at the last possible offset.
    """
    config = labels.config
    last = song.total_length - 1
    if config.has_timing:
        last = min(last, int(config.max_duration * config.sampling_rate) - config.window_length)

    def labels_at(start: int) -> torch.Tensor:
        # In codes, since the offset of a window is counted from that of its song.
        return labels.for_songs([song], [min(start, max(last - song.offset, 0) // config.hop_length)])

    return labels_at
