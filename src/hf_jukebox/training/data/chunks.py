"""Chunks of songs and their order, a pure function of (seed, position)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ...configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig


@dataclass(frozen=True)
class ChunkSettings:
    """Settings that cut songs into training examples. Lengths in samples at the model's rate, durations in seconds.

    Args:
        chunk_length: Samples per example.
        sampling_rate: Sampling rate of the model, in Hz.
        start_multiple: Chunks start at multiples of this: the samples of a code of the highest level in use.
        length_multiple: Songs are first cut to a multiple of this many samples, as they are for encoding.
        min_duration: Shorter songs are left out; by default the chunk, rounded up to a second.
        max_duration: Songs of this duration or longer are left out; None for no limit.
        aug_shift: Move every chunk by a random offset of up to half a chunk.
        aug_blend: Mix stereo to mono with a random weight instead of 0.5 and 0.5.
        seed: Seed of the order and of both augmentations.

    Raises:
        ValueError: a chunk does not fit into the shortest song, or does not end at a multiple of `start_multiple`.
    """

    chunk_length: int
    sampling_rate: int
    start_multiple: int = 1
    length_multiple: int = 1
    min_duration: float | None = None
    max_duration: float | None = None
    aug_shift: bool = False
    aug_blend: bool = False
    seed: int = 0

    @classmethod
    def for_prior(cls, config: JukeboxPriorConfig, vqvae: JukeboxVQVAEConfig, **settings: Any) -> Self:
        """Make the settings for windows of a prior, which start at a code of the level above, or of the top level.

        Args:
            config, vqvae: Configs of the prior and of the VQ-VAE that encodes for it.
            settings: Other fields; a top prior with labels restricts the durations to those that it was made for.
        """
        shortest, longest = settings.pop("min_duration", None), settings.pop("max_duration", None)
        if config.has_timing:
            chunk = math.ceil(config.window_length / config.sampling_rate)
            shortest = max(config.min_duration, chunk if shortest is None else shortest)
            longest = config.max_duration if longest is None else min(longest, config.max_duration)
        return cls(
            chunk_length=config.window_length,
            sampling_rate=config.sampling_rate,
            start_multiple=config.hop_length * config.upsampling_ratio,
            length_multiple=vqvae.hop_lengths[-1],
            min_duration=shortest,
            max_duration=longest,
            **settings,
        )

    def __post_init__(self) -> None:
        if self.chunk_length < 1 or self.chunk_length % self.start_multiple:
            raise ValueError(f"A chunk must be a multiple of {self.start_multiple} samples, not {self.chunk_length}.")
        if self.min_duration is not None and self.min_duration * self.sampling_rate < self.chunk_length:
            raise ValueError(
                f"min_duration is {self.min_duration:g} s, but a chunk of {self.chunk_length} samples takes "
                f"{self.chunk_length / self.sampling_rate:.2f} s; leave min_duration out, or use shorter chunks."
            )

    @property
    def shortest(self) -> float:
        """Shortest duration of a song that is used, in seconds."""
        if self.min_duration is not None:
            return self.min_duration
        return math.ceil(self.chunk_length / self.sampling_rate)

    def usable_length(self, num_samples: int) -> int:
        """Return the samples of a song that chunks are cut from."""
        return num_samples // self.length_multiple * self.length_multiple

    def num_chunks(self, num_samples: int) -> int:
        """Return the number of chunks that cover a song."""
        return -(-self.usable_length(num_samples) // self.chunk_length)

    def is_too_short(self, num_samples: int) -> bool:
        return num_samples < self.shortest * self.sampling_rate or self.usable_length(num_samples) < self.chunk_length

    def is_too_long(self, num_samples: int) -> bool:
        return self.max_duration is not None and num_samples >= self.max_duration * self.sampling_rate


@dataclass(frozen=True)
class Chunk:
    """Example: samples `start` to `start + chunk_length` of a song, the left channel weighted by `left_gain`."""

    song: int
    start: int
    left_gain: float = 0.5


class ChunkPlan:
    """Chunks of songs in training order.

    A song is cut into the chunks at 0, 1, 2 ... times `chunk_length`, the last one moved back to end with the song.
    `plan.at(p)` is the chunk at position p, counted from the start of training: p lies in epoch `p // len(plan)`, and
    each epoch has its own order. The order depends on (seed, epoch), shift and blend on (seed, epoch, chunk), and
    nothing depends on batches, workers, processes or restarts.

    Args:
        lengths: Lengths of the songs, in samples.
        settings: Settings of the chunks.
        training: If False, the chunks are in the songs' order, without augmentation.
    """

    def __init__(self, lengths: Sequence[int], settings: ChunkSettings, training: bool = True) -> None:
        self.settings = settings
        self.training = training
        self._usable_lengths = [settings.usable_length(length) for length in lengths]
        counts = [settings.num_chunks(length) for length in lengths]
        self._ends = np.cumsum([0, *counts])[1:]  # per song, in chunks
        self._shuffled: tuple[int, np.ndarray] | None = None  # the latest epoch and its order

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def check(self, position: int) -> None:
        """Check a position, which must be at least 0, and below `len(plan)` except in training.

        Raises:
            IndexError: the position is out of range.
        """
        if not len(self) or position < 0 or not (self.training or position < len(self)):
            raise IndexError(f"There is no position {position} in {len(self)} chunks.")

    def at(self, position: int) -> Chunk:
        """Return the chunk at a position, counted over all epochs."""
        epoch, index = divmod(position, len(self))
        number = int(self._order(epoch)[index]) if self.training else index
        song = int(np.searchsorted(self._ends, number, side="right"))
        part = number - (int(self._ends[song - 1]) if song else 0)
        shift, left_gain = augmentation(self.settings, epoch, number) if self.training else (0, 0.5)
        return Chunk(song, chunk_start(self._usable_lengths[song], part, shift, self.settings), left_gain)

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled is None or self._shuffled[0] != epoch:
            rng = np.random.default_rng([self.settings.seed, epoch])
            self._shuffled = epoch, rng.permutation(len(self))
        return self._shuffled[1]


def augmentation(settings: ChunkSettings, *key: int) -> tuple[int, float]:
    """Return the shift in samples and the gain of the left channel, a pure function of (seed, *key)."""
    shift, left_gain = np.random.default_rng([settings.seed, *key]).random(2)  # both, whichever are used
    return (
        round((shift - 0.5) * settings.chunk_length) if settings.aug_shift else 0,
        float(left_gain) if settings.aug_blend else 0.5,
    )


def chunk_start(usable_length: int, part: int, shift: int, settings: ChunkSettings) -> int:
    """Return the first sample of chunk number `part` of a song of `usable_length` samples, after a shift."""
    latest = usable_length - settings.chunk_length
    start = min(part * settings.chunk_length, latest) + shift
    return min(max(start, 0), latest) // settings.start_multiple * settings.start_multiple


@dataclass(frozen=True)
class Selection:
    """Division of songs into those to train on, those for validation, and those left out.

    Attributes:
        train, validation: Indices of the songs kept.
        too_short, too_long: Numbers of songs left out.
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
    """Error of data without any song to train on.

    Args:
        message: Reason, and advice.
        longest: Samples of the longest song.
        chunks_too_long: True if songs would remain with shorter chunks.
    """

    def __init__(self, message: str, longest: int = 0, chunks_too_long: bool = False) -> None:
        super().__init__(message)
        self.longest = longest
        self.chunks_too_long = chunks_too_long


def select_songs(lengths: Sequence[int], held_out: Sequence[bool], settings: ChunkSettings) -> Selection:
    """Leave out the songs that are too short or too long, and divide the rest into training and validation.

    Raises:
        NoSongsError: no song remains to train on.
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
            f"{settings.shortest:g} s{at_most}, but of {len(lengths)} songs {selection.too_short} are shorter and "
            f"{selection.too_long} longer (the longest is {longest:.2f} s long); use shorter chunks, or other songs.",
            max(lengths, default=0),
            chunks_too_long=bool(lengths) and settings.is_too_short(max(lengths)),
        )
    return selection
