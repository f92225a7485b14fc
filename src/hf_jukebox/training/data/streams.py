"""Chunks of streamed songs, whose number and order are unknown."""

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

from .chunks import augmentation, chunk_start
from .datasets import ChunkReader, Example
from .hf_datasets import SongStream
from .prefetch import prefetch
from .recordings import READING_ERRORS, Recording, open_recording
from .songs import AudioBytes, AudioFile, Song

logger = logging.getLogger(__name__)

_POOL = 16  # songs in memory at a time, whose chunks are mixed
_THREADS = 4  # chunks decoded at the same time
_HELD_OUT = 10  # one song in this many is held out


class _StreamedChunk(NamedTuple):
    recording: Recording
    start: int
    left_gain: float


class StreamedChunks(IterableDataset[Example]):
    """Dataset of chunks of a stream of songs, read by a [`ChunkReader`].

    In training it is endless: each epoch reads the files of the data set in its own order, and mixes the chunks of 16
    songs at a time. About one song in ten is held out, chosen by its content; without `training` the dataset holds
    these songs, once and in order. The order depends on the seed and the number of processes.

    Args:
        stream: Songs: those of this process to train on, all songs to hold some out.
        reader: Reader of the chunks, with their settings.
        training: True for the songs to train on, False for those held out.
    """

    def __init__(self, stream: SongStream, reader: ChunkReader, training: bool = True) -> None:
        self.stream = stream
        self.reader = reader
        self.training = training
        self._part: tuple[int, int | None, int] = (0, None, 1)

    def part(self, start: int, stop: int | None = None, step: int = 1) -> Self:
        """Return the examples `start:stop:step`; the others are still fetched from the stream, but not decoded."""
        part = copy.copy(self)
        part._part = (start, stop, step)
        return part

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples.

        Raises:
            ValueError: no song of the stream can be used.
        """
        reads = (partial(self.reader.read, *chunk) for chunk in islice(self._chunks(), *self._part))
        for reading in prefetch(reads, _THREADS):
            try:
                yield reading.result()
            except READING_ERRORS as error:
                logger.warning("Skipping a part of a song in %s that cannot be read: %s", self.stream.name, error)

    def iter_channels(self) -> Iterator[np.ndarray]:
        """Yield the audio of one epoch's chunks, float32 `[channels, chunk_length]`."""
        for recording, start, _ in self._mixed(0) if self.training else self._in_order():
            try:
                yield recording.read(start, self.reader.settings.chunk_length)
            except READING_ERRORS:
                continue

    def _chunks(self) -> Iterator[_StreamedChunk]:
        if not self.training:
            yield from self._in_order()
            return
        for epoch in count():
            yield from self._mixed(epoch)

    def _in_order(self) -> Iterator[_StreamedChunk]:
        settings = self.reader.settings
        for recording in self._recordings(self.stream):
            length = settings.usable_length(recording.num_samples)
            for part in range(settings.num_chunks(recording.num_samples)):
                yield _StreamedChunk(recording, chunk_start(length, part, 0, settings), 0.5)

    def _mixed(self, epoch: int) -> Iterator[_StreamedChunk]:
        settings = self.reader.settings
        rng = np.random.default_rng([settings.seed, epoch])
        recordings = self._recordings(self.stream.in_order_of_epoch(settings.seed, epoch))
        pool: list[tuple[Recording, list[int]]] = []  # songs, each with its remaining chunks

        def refill() -> None:
            for recording in islice(recordings, _POOL - len(pool)):
                pool.append((recording, rng.permutation(settings.num_chunks(recording.num_samples)).tolist()))

        refill()
        while pool:
            choice = int(rng.integers(len(pool)))
            recording, parts = pool[choice]
            part = parts.pop()
            shift, left_gain = augmentation(settings, epoch, _identity(recording.song), part)
            length = settings.usable_length(recording.num_samples)
            yield _StreamedChunk(recording, chunk_start(length, part, shift, settings), left_gain)
            if not parts:
                pool.pop(choice)
                refill()

    def _recordings(self, songs: SongStream) -> Iterator[Recording]:
        """Yield the training or validation songs that can be read and have a usable length."""
        settings = self.reader.settings
        found = too_short = too_long = unreadable = 0
        for song in songs:
            if (_identity(song) % _HELD_OUT == 0) == self.training:
                continue
            try:
                recording = open_recording(song, settings.sampling_rate)
            except READING_ERRORS as error:
                logger.warning("Skipping a file that cannot be read: %s (%s)", song.metadata.name, error)
                unreadable += 1
                continue
            too_short += settings.is_too_short(recording.num_samples)
            too_long += settings.is_too_long(recording.num_samples)
            if not (settings.is_too_short(recording.num_samples) or settings.is_too_long(recording.num_samples)):
                found += 1
                yield recording
        counts = f"{too_short} too short, {too_long} too long and {unreadable} unreadable"
        logger.info("%s: %d songs; left out: %s.", self.stream.name, found, counts)
        if self.training and not found:
            raise ValueError(
                f"{self.stream.name} has no song to train on: of the songs of this process {counts}; use songs of at "
                f"least {settings.shortest:g} s, or shorter chunks."
            )


def _identity(song: Song) -> int:
    """Return a number that identifies a song independently of the order of the songs."""
    match song.audio:
        case AudioBytes(content=content):
            return zlib.crc32(content)
        case AudioFile(path=path):
            return zlib.crc32(os.fsencode(path))
    return zlib.crc32(os.fsencode(song.metadata.name))
