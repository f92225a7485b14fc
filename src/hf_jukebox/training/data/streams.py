"""Chunks of songs that are streamed: nobody knows how many there are, or what comes next."""

from __future__ import annotations

import copy
import logging
import os
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from typing import NamedTuple, Self

import numpy as np
from torch.utils.data import IterableDataset

from .chunks import augmentation, place_chunk
from .datasets import ChunkReader, Example
from .hf_datasets import SongStream
from .prefetch import prefetch
from .recordings import READING_ERRORS, Recording, open_recording
from .songs import AudioBytes, AudioFile, Song

logger = logging.getLogger(__name__)

_POOL = 16  # songs that are held at a time, and whose chunks are mixed
_THREADS = 4  # chunks that are decoded at the same time
_HELD_OUT = 10  # every so many songs one is for validation


class _Place(NamedTuple):
    recording: Recording
    start: int
    left: float


class StreamedChunks(IterableDataset[Example]):
    """Chunks of a stream of songs, read by a [`ChunkReader`].

    In training it goes on for ever, epoch after epoch: in each the files of the data set come in an order of its own,
    and the chunks of 16 songs at a time are mixed. About every tenth song is held out, chosen by its content; without
    `training` it is these that are given, once and in order. What comes at which place depends on the seed and the
    number of processes.

    Args:
        stream: The songs of this process.
        reader: Which also says how songs are cut.
        training: Give the songs to train on, or those held out.
    """

    def __init__(self, stream: SongStream, reader: ChunkReader, training: bool = True) -> None:
        self.stream = stream
        self.reader = reader
        self.training = training
        self.first = 0

    def starting_at(self, example: int) -> Self:
        """The same, from an example on: what comes before is fetched, as a stream has no other way, but not decoded."""
        later = copy.copy(self)
        later.first = example
        return later

    def __iter__(self) -> Iterator[Example]:
        """The examples.

        Raises:
            ValueError: no song of the stream is of the right length.
        """
        reads = (partial(self.reader.read, *place) for place in islice(self._places(), self.first, None))
        for reading in prefetch(reads, _THREADS):
            try:
                yield reading.result()
            except READING_ERRORS as error:
                logger.warning("A part of a song in %s is left out, as it cannot be read: %s", self.stream.name, error)

    def recorded(self) -> Iterator[np.ndarray]:
        """Audio of the chunks, float32 `[channels, chunk_length]`."""
        for recording, start, _ in self._places():
            try:
                yield recording.read(start, self.reader.settings.chunk_length)
            except READING_ERRORS:
                continue

    def _places(self) -> Iterator[_Place]:
        if not self.training:
            yield from self._in_order()
            return
        for epoch in count():
            yield from self._mixed(epoch)

    def _in_order(self) -> Iterator[_Place]:
        settings = self.reader.settings
        for recording in self._recordings(self.stream):
            for part in range(settings.num_chunks(recording.num_samples)):
                yield _Place(recording, place_chunk(settings.usable(recording.num_samples), part, 0, settings), 0.5)

    def _mixed(self, epoch: int) -> Iterator[_Place]:
        settings = self.reader.settings
        rng = np.random.default_rng([settings.seed, epoch])
        recordings = self._recordings(self.stream.in_order_of_epoch(settings.seed, epoch))
        pool: list[tuple[Recording, list[int]]] = []  # songs, with those of their chunks that are left

        def refill() -> None:
            for recording in islice(recordings, _POOL - len(pool)):
                pool.append((recording, rng.permutation(settings.num_chunks(recording.num_samples)).tolist()))

        refill()
        while pool:
            choice = int(rng.integers(len(pool)))
            recording, parts = pool[choice]
            part = parts.pop()
            shift, left = augmentation(settings, epoch, _identity(recording.song), part)
            yield _Place(recording, place_chunk(settings.usable(recording.num_samples), part, shift, settings), left)
            if not parts:
                pool.pop(choice)
                refill()

    def _recordings(self, songs: SongStream) -> Iterator[Recording]:
        """The songs of this side, training or validation, that can be read and are of the right length."""
        settings = self.reader.settings
        found = too_short = too_long = unreadable = 0
        for song in songs:
            if (_identity(song) % _HELD_OUT == 0) == self.training:
                continue
            try:
                recording = open_recording(song, settings.sampling_rate)
            except READING_ERRORS as error:
                logger.warning("Left out, as it cannot be read: %s (%s)", song.metadata.name, error)
                unreadable += 1
                continue
            too_short += settings.is_too_short(recording.num_samples)
            too_long += settings.is_too_long(recording.num_samples)
            if not (settings.is_too_short(recording.num_samples) or settings.is_too_long(recording.num_samples)):
                found += 1
                yield recording
        counts = f"{too_short} too short, {too_long} too long and {unreadable} unreadable"
        logger.info("%s: %d songs, and %s ones left out.", self.stream.name, found, counts)
        if self.training and not found:
            raise ValueError(
                f"{self.stream.name} has no song to train on: of those for this process {counts}; a chunk needs "
                f"{settings.shortest:g} s."
            )


def _identity(song: Song) -> int:
    """A number that a song keeps in whichever order the songs come."""
    match song.audio:
        case AudioBytes(content=content):
            return zlib.crc32(content)
        case AudioFile(path=path):
            return zlib.crc32(os.fsencode(path))
    return zlib.crc32(os.fsencode(song.metadata.name))
