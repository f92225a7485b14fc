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
from ...sampling.window_labels import WindowLabels
from .chunks import ChunkPlan, ChunkSettings
from .code_cache import CodeCache, CodedSong
from .encoding import BlockGrid
from .label_tables import label_row, window_labels
from .recordings import READING_ERRORS, Recording

logger = logging.getLogger(__name__)

Example = dict[str, torch.Tensor]


@dataclass(frozen=True)
class ChunkReader:
    """Reader of chunks of recordings as training examples.

    An example holds `audio` `[T]`, mono at the model's rate. With `blocks`, `audio` includes everything that the codes
    of the chunk depend on, and `lead` and `skipped` `()` locate the chunk in it: see [`EncodingSpan`] and
    [`ChunkEncoder`]. With `labels`, it also holds the label row of the chunk, `[label_length]`.
    """

    settings: ChunkSettings
    blocks: BlockGrid | None = None
    labels: WindowLabels | None = None

    def read(self, recording: Recording, start: int, left_gain: float) -> Example:
        """Read the chunk at sample `start`, the left of two channels weighted by `left_gain`.

        Raises:
            OSError, ValueError, RuntimeError: the recording cannot be read there.
        """
        length = self.settings.chunk_length
        example = {}
        if self.blocks is None:
            example["audio"] = torch.from_numpy(recording.read_mono(start, length, left_gain))
        else:
            span = self.blocks.span(start, length, self.settings.usable_length(recording.num_samples))
            example["audio"] = torch.from_numpy(recording.read_mono(span.first, span.last - span.first, left_gain))
            example["lead"], example["skipped"] = torch.tensor(span.lead), torch.tensor(span.skipped)
        if self.labels is not None:
            example["labels"] = label_row(self.labels, recording.song.metadata, recording.num_samples, start)
        return example


class AudioChunks(Dataset[Example]):
    """Dataset of chunks of recordings, read by a [`ChunkReader`].

    `dataset[position]` is a pure function of the position; in training, positions continue beyond `len(dataset)`, which
    is one epoch: see [`ChunkPlan`]. A chunk that cannot be read is logged and replaced by the next one.
    """

    def __init__(self, recordings: Sequence[Recording], plan: ChunkPlan, reader: ChunkReader) -> None:
        self.recordings = recordings
        self.plan = plan
        self.reader = reader
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Example:
        """Return the example at a position.

        Raises:
            ValueError: no chunk of the epoch can be read.
        """
        self.plan.check(position)
        epoch, index = divmod(position, len(self))
        for attempt in range(len(self)):
            chunk = self.plan.at(epoch * len(self) + (index + attempt) % len(self))
            recording = self.recordings[chunk.song]
            try:
                return self.reader.read(recording, chunk.start, chunk.left_gain)
            except READING_ERRORS as error:
                name = recording.song.metadata.name
                if name not in self._reported:
                    logger.warning("Skipping a part of %s that cannot be read: %s", name, error)
                    self._reported.add(name)
        raise ValueError("None of the songs can be read any more; check that they were not moved.")

    def iter_channels(self) -> Iterator[np.ndarray]:
        """Yield the audio of one epoch's chunks, float32 `[channels, chunk_length]`."""
        for chunk in map(self.plan.at, range(len(self))):
            try:
                yield self.recordings[chunk.song].read(chunk.start, self.plan.settings.chunk_length)
            except READING_ERRORS:
                continue


class CodeChunks(Dataset[Example]):
    """Dataset of chunks of a code cache, to train a prior without running the VQ-VAE.

    An example holds `codes` `[n_ctx]` and, where the prior has them, `upper_codes` `[n_ctx / ratio]` and `labels`
    `[label_length]`. Positions and examples equal those of [`AudioChunks`] after encoding.

    Raises:
        ValueError: the prior does not fit the VQ-VAE of the codes.
    """

    def __init__(
        self, cache: CodeCache, songs: Sequence[CodedSong], plan: ChunkPlan, config: JukeboxPriorConfig
    ) -> None:
        Hierarchy.of(cache.config, [config])
        self.cache = cache
        self.songs = songs
        self.plan = plan
        self.config = config
        self.labels = window_labels(config)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Example:
        """Return the example at a position.

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
            example["labels"] = label_row(self.labels, song.metadata, song.num_samples, chunk.start)
        return example
