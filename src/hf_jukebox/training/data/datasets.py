"""Training examples: chunks of audio, or of codes, with their labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ...configuration_jukebox import JukeboxPriorConfig
from ...hierarchy import Hierarchy
from .chunks import ChunkPlan, ChunkSettings
from .code_cache import CodeCache, CodedSong
from .encoding import BlockGrid
from .label_tables import WindowLabels
from .recordings import READING_ERRORS, Recording

logger = logging.getLogger(__name__)

Example = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ChunkReader:
    """Reads a chunk of a recording as an example.

    An example holds `audio` `[T]`, mono at the model's rate. With `blocks` that is all that the codes of the chunk
    depend on, and `lead` and `skipped` `()` say where the chunk is in it: see [`Span`] and [`ChunkEncoder`]. With
    `labels` it holds those of the chunk, `[label_length]`.
    """

    settings: ChunkSettings
    blocks: BlockGrid | None = None
    labels: WindowLabels | None = None

    def read(self, recording: Recording, start: int, left: float) -> Example:
        """The chunk at sample `start`, with the left of two channels weighted by `left`.

        Raises:
            OSError, ValueError, RuntimeError: the recording cannot be read there.
        """
        length = self.settings.chunk_length
        example = {}
        if self.blocks is None:
            example["audio"] = torch.from_numpy(recording.read_mono(start, length, left))
        else:
            place = self.blocks.span(start, length, self.settings.usable(recording.num_samples))
            example["audio"] = torch.from_numpy(recording.read_mono(place.first, place.last - place.first, left))
            example["lead"], example["skipped"] = torch.tensor(place.lead), torch.tensor(place.skipped)
        if self.labels is not None:
            example["labels"] = self.labels(recording.song.metadata, recording.num_samples, start)
        return example


class AudioChunks(Dataset[Example]):
    """Chunks of recordings, read by a [`ChunkReader`].

    `dataset[position]` is a pure function of the position; in training the positions go on beyond `len(dataset)`, which
    is one epoch: see [`ChunkPlan`]. A chunk that cannot be read is logged, and the next one takes its place.
    """

    def __init__(self, recordings: Sequence[Recording], plan: ChunkPlan, reader: ChunkReader) -> None:
        self.recordings = recordings
        self.plan = plan
        self.reader = reader
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Example:
        """The example at a position.

        Raises:
            ValueError: no chunk of the epoch can be read.
        """
        self.plan.check(position)
        epoch, index = divmod(position, len(self))
        for attempt in range(len(self)):
            chunk = self.plan.at(epoch * len(self) + (index + attempt) % len(self))
            recording = self.recordings[chunk.song]
            try:
                return self.reader.read(recording, chunk.start, chunk.left)
            except READING_ERRORS as error:
                name = recording.song.metadata.name
                if name not in self._reported:
                    logger.warning("A part of %s is left out, as it cannot be read: %s", name, error)
                    self._reported.add(name)
        raise ValueError("None of the songs can be read any more; are they still where they were?")

    def recorded(self) -> Iterator[np.ndarray]:
        """Audio of one epoch's chunks, float32 `[channels, chunk_length]`."""
        for chunk in map(self.plan.at, range(len(self))):
            try:
                yield self.recordings[chunk.song].read(chunk.start, self.plan.settings.chunk_length)
            except READING_ERRORS:
                continue


class CodeChunks(Dataset[Example]):
    """Chunks of a cache of codes: what a prior is trained on, without a VQ-VAE.

    An example holds `codes` `[n_ctx]` and, where the prior has them, `upper_codes` `[n_ctx / ratio]` and `labels`
    `[label_length]`. The positions are those of [`AudioChunks`], and so are the examples, once encoded.

    Raises:
        ValueError: the prior was made for another VQ-VAE than the codes.
    """

    def __init__(
        self, cache: CodeCache, songs: Sequence[CodedSong], plan: ChunkPlan, config: JukeboxPriorConfig
    ) -> None:
        Hierarchy.of(cache.config, [config])
        self.cache = cache
        self.songs = songs
        self.plan = plan
        self.config = config
        self.labels = WindowLabels.of(config)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Example:
        """The example at a position.

        Raises:
            OSError: a file of the cache is missing or damaged.
        """
        self.plan.check(position)
        chunk, config = self.plan.at(position), self.config
        song, start = self.songs[chunk.song], chunk.start // config.hop_length
        example = {"codes": self.cache.read(song, config.level, start, config.n_ctx)}
        if config.is_upsampler:
            ratio = config.upsampling_ratio
            example["upper_codes"] = self.cache.read(song, config.level + 1, start // ratio, config.n_ctx // ratio)
        if self.labels is not None:
            example["labels"] = self.labels(song.metadata, song.num_samples, chunk.start)
        return example
