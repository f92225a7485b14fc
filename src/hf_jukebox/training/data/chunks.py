"""Which stretch of which song comes when: a pure function of (seed, position)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ...configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig


@dataclass(frozen=True)
class ChunkSettings:
    """How songs are cut into training examples. Lengths in samples at the model's rate, durations in seconds.

    Args:
        chunk_length: Samples of an example.
        sampling_rate: Of the model.
        grid: Chunks begin at multiples of this: the samples of a code of the highest level that is looked at.
        whole_codes: Songs are cut to a multiple of this many samples before anything else, as they are for encoding.
        min_duration: Shorter songs are left out; by default the chunk, rounded up to a second.
        max_duration: Songs that long or longer are left out; None for no limit.
        aug_shift: Move every chunk by a random offset of up to half a chunk.
        aug_blend: Mix stereo to mono with a random weight, else with 0.5 and 0.5.
        seed: Of the order and of both augmentations.

    Raises:
        ValueError: a chunk would not fit into the shortest song.
    """

    chunk_length: int
    sampling_rate: int
    grid: int = 1
    whole_codes: int = 1
    min_duration: float | None = None
    max_duration: float | None = None
    aug_shift: bool = False
    aug_blend: bool = False
    seed: int = 0

    @classmethod
    def for_prior(cls, config: JukeboxPriorConfig, vqvae: JukeboxVQVAEConfig, **settings: Any) -> Self:
        """Windows of a prior, which begin at a code of the level above it (of its own, on top).

        Args:
            config, vqvae: Of the prior, and of the VQ-VAE that encodes for it.
            settings: Others of this class; a top prior with labels also keeps to the durations that it was made for.
        """
        shortest, longest = settings.pop("min_duration", None), settings.pop("max_duration", None)
        if config.has_timing:
            chunk = math.ceil(config.window_length / config.sampling_rate)
            shortest = max(config.min_duration, chunk if shortest is None else shortest)
            longest = config.max_duration if longest is None else min(longest, config.max_duration)
        return cls(
            chunk_length=config.window_length,
            sampling_rate=config.sampling_rate,
            grid=config.hop_length * config.upsampling_ratio,
            whole_codes=vqvae.hop_lengths[-1],
            min_duration=shortest,
            max_duration=longest,
            **settings,
        )

    def __post_init__(self) -> None:
        if self.chunk_length < 1 or self.chunk_length % self.grid:
            raise ValueError(f"A chunk must be a multiple of {self.grid} samples, not {self.chunk_length}.")
        if self.min_duration is not None and self.min_duration * self.sampling_rate < self.chunk_length:
            raise ValueError(
                f"min_duration is {self.min_duration:g} s, but a chunk of {self.chunk_length} samples takes "
                f"{self.chunk_length / self.sampling_rate:.2f} s; leave min_duration out, or use shorter chunks."
            )

    @property
    def shortest(self) -> float:
        """Seconds that a song must have."""
        if self.min_duration is not None:
            return self.min_duration
        return math.ceil(self.chunk_length / self.sampling_rate)

    def usable(self, num_samples: int) -> int:
        """How much of a song chunks are cut from."""
        return num_samples // self.whole_codes * self.whole_codes

    def num_chunks(self, num_samples: int) -> int:
        """Chunks of a song: as many as it takes to hear all of it."""
        return -(-self.usable(num_samples) // self.chunk_length)

    def is_too_short(self, num_samples: int) -> bool:
        return num_samples < self.shortest * self.sampling_rate or self.usable(num_samples) < self.chunk_length

    def is_too_long(self, num_samples: int) -> bool:
        return self.max_duration is not None and num_samples >= self.max_duration * self.sampling_rate


@dataclass(frozen=True)
class Chunk:
    """An example: samples `start` to `start + chunk_length` of a song, mixed with the weight `left`."""

    song: int
    start: int
    left: float = 0.5


class ChunkPlan:
    """The chunks of songs in the order of training.

    A song gives the chunks at 0, 1, 2 ... times `chunk_length`, the last moved back to end with the song. `plan.at(p)`
    is what is trained on at position p, counted from the start of training: p lies in epoch `p // len(plan)`, and every
    epoch has an order of its own. The order depends on (seed, epoch), shift and blend on (seed, epoch, chunk): not on
    batches, workers, processes or restarts.

    Args:
        lengths: Of the songs, in samples.
        settings: How they are cut.
        training: Otherwise the chunks come in the songs' order, without augmentation.
    """

    def __init__(self, lengths: Sequence[int], settings: ChunkSettings, training: bool = True) -> None:
        self.settings = settings
        self.training = training
        self._usable = [settings.usable(length) for length in lengths]
        counts = [settings.num_chunks(length) for length in lengths]
        self._ends = np.cumsum([0, *counts])[1:]  # of each song, in chunks
        self._shuffled: tuple[int, np.ndarray] | None = None  # the epoch whose order is known, and the order

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def check(self, position: int) -> None:
        """Positions begin at 0, and outside of training end with the chunks.

        Raises:
            IndexError: there is no such position.
        """
        if not len(self) or position < 0 or not (self.training or position < len(self)):
            raise IndexError(f"There is no position {position} in {len(self)} chunks.")

    def at(self, position: int) -> Chunk:
        """The chunk of a position, counted over all epochs."""
        epoch, index = divmod(position, len(self))
        number = int(self._order(epoch)[index]) if self.training else index
        song = int(np.searchsorted(self._ends, number, side="right"))
        part = number - (int(self._ends[song - 1]) if song else 0)
        shift, left = augmentation(self.settings, epoch, number) if self.training else (0, 0.5)
        return Chunk(song, place_chunk(self._usable[song], part, shift, self.settings), left)

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled is None or self._shuffled[0] != epoch:
            rng = np.random.default_rng([self.settings.seed, epoch])
            self._shuffled = epoch, rng.permutation(len(self))
        return self._shuffled[1]


def augmentation(settings: ChunkSettings, *key: int) -> tuple[int, float]:
    """Shift in samples and weight of the left channel, from (seed, *key) alone."""
    shift, left = np.random.default_rng([settings.seed, *key]).random(2)  # both are drawn, whichever are used
    return (
        round((shift - 0.5) * settings.chunk_length) if settings.aug_shift else 0,
        float(left) if settings.aug_blend else 0.5,
    )


def place_chunk(usable: int, part: int, shift: int, settings: ChunkSettings) -> int:
    """Where chunk number `part` of a song of `usable` samples begins, after a shift."""
    start = min(part * settings.chunk_length, usable - settings.chunk_length) + shift
    return min(max(start, 0), usable - settings.chunk_length) // settings.grid * settings.grid


@dataclass(frozen=True)
class Selection:
    """Which songs are trained on.

    Attributes:
        train, validation: Indices of the songs kept.
        too_short, too_long: How many were left out.
    """

    train: list[int]
    validation: list[int]
    too_short: int
    too_long: int

    def __str__(self) -> str:
        text = f"{len(self.train)} songs to train on, {len(self.validation)} for validation"
        if self.too_short or self.too_long:
            text += f"; left out: {self.too_short} too short, {self.too_long} too long"
        return text


class NoSongsError(ValueError):
    """No song is left to train on.

    Args:
        message: Says why.
        longest: Samples of the longest song.
        chunks_too_long: Whether shorter chunks would leave some.
    """

    def __init__(self, message: str, longest: int = 0, chunks_too_long: bool = False) -> None:
        super().__init__(message)
        self.longest = longest
        self.chunks_too_long = chunks_too_long


def select_songs(lengths: Sequence[int], held_out: Sequence[bool], settings: ChunkSettings) -> Selection:
    """Drops the songs that are too short or too long, and divides the rest.

    Raises:
        NoSongsError: no song is left to train on.
    """
    too_short = [settings.is_too_short(length) for length in lengths]
    too_long = [settings.is_too_long(length) for length in lengths]
    kept = [i for i in range(len(lengths)) if not (too_short[i] or too_long[i])]
    selection = Selection(
        train=[i for i in kept if not held_out[i]],
        validation=[i for i in kept if held_out[i]],
        too_short=sum(too_short),
        too_long=sum(too_long),
    )
    if not selection.train:
        longest = max(lengths, default=0) / settings.sampling_rate
        at_most = "" if settings.max_duration is None else f" and less than {settings.max_duration:g} s"
        raise NoSongsError(
            f"No song is left to train on: a chunk of {settings.chunk_length} samples needs songs of at least "
            f"{settings.shortest:g} s{at_most}, and of {len(lengths)} songs {selection.too_short} are shorter and "
            f"{selection.too_long} longer (the longest has {longest:.2f} s); use shorter chunks, or other songs.",
            max(lengths, default=0),
            chunks_too_long=bool(lengths) and settings.is_too_short(max(lengths)),
        )
    return selection
