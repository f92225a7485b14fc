"""Recordings at a model's rate: any stretch of one is the same, sample by sample, whichever stretch it is read as."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...audio.io import AudioInfo, audio_info, prepare_audio, read_audio, resampled_length
from .songs import Song

logger = logging.getLogger(__name__)

# What reading raises where a file is missing, damaged or no audio. (libsndfile's own error is a RuntimeError.)
READING_ERRORS = (OSError, ValueError, RuntimeError)

_BLOCK = 65536  # samples at the model's rate that are resampled at a time, about
_PIECE = 2**23  # samples that are held in stereo at a time
_REACH = 256  # samples, of the lower of both rates, beyond which the resampling filter hears nothing


@dataclass(frozen=True)
class Recording:
    """A song whose length is known, at the rate of a model.

    Attributes:
        song: The song.
        info: Frames, rate and channels of the file, and where the frames of an mp3 are: found once, kept for all reads.
        sampling_rate: Of the model, in Hz: all lengths and places are counted in its samples.
        position: Place among the songs of the data, readable or not: see [`is_held_out`].
    """

    song: Song
    info: AudioInfo
    sampling_rate: int
    position: int = 0

    @property
    def num_samples(self) -> int:
        """Length of the whole song."""
        return resampled_length(self.info.frames, self.info.sampling_rate, self.sampling_rate)

    def read(self, start: int, length: int) -> np.ndarray:
        """The samples `start` to `start + length`, float32 `[channels, length]`.

        A file of another rate is resampled in blocks whose places are fixed, each with its surroundings. So a sample
        does not depend on where the stretch that it is read in begins or ends.

        Raises:
            OSError, ValueError, RuntimeError: the file cannot be read there.
        """
        if not 0 <= start < start + length <= self.num_samples:
            raise ValueError(
                f"{self.song.metadata.name} has {self.num_samples} samples, not {start} to {start + length}."
            )
        if self.info.sampling_rate == self.sampling_rate:
            return self._frames(start, start + length)
        return self._resampled(start, start + length)

    def read_mono(self, start: int, length: int, left: float = 0.5) -> np.ndarray:
        """The samples `start` to `start + length` mixed to mono, float32 `[length]`; see [`mix_to_mono`]."""
        pieces = [
            mix_to_mono(self.read(place, min(_PIECE, start + length - place)), left)
            for place in range(start, start + length, _PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _resampled(self, start: int, end: int) -> np.ndarray:
        common = math.gcd(self.info.sampling_rate, self.sampling_rate)
        frames_a_step, samples_a_step = self.info.sampling_rate // common, self.sampling_rate // common
        # Everything here is counted in steps: the shortest time that is a whole number of samples at either rate.
        block = -(-_BLOCK // samples_a_step)
        reach = -(-_REACH * math.ceil(frames_a_step / samples_a_step) // frames_a_step)
        first = start // (block * samples_a_step) * block
        begins = range(first, -(-end // samples_a_step), block)

        heard = max(first - reach, 0)
        last_frame = min((begins[-1] + block + reach) * frames_a_step, self.info.frames)
        frames = self._frames(heard * frames_a_step, last_frame)
        resampled = []
        for begin in begins:
            before, after = max(begin - reach, 0), begin + block + reach
            part = frames[:, (before - heard) * frames_a_step : (after - heard) * frames_a_step]
            samples = prepare_audio(part, self.info.sampling_rate, self.sampling_rate)
            resampled.append(samples[:, (begin - before) * samples_a_step :][:, : block * samples_a_step])
        joined = np.concatenate(resampled, axis=1)  # [channels, samples from `first` on]
        return joined[:, start - first * samples_a_step : end - first * samples_a_step]

    def _frames(self, start: int, end: int) -> np.ndarray:
        """Frames of the file, at its own rate, `[channels, end - start]`."""
        rate = self.info.sampling_rate
        offset, duration = start / rate, (end - start) / rate
        with self.song.audio.file() as source:
            frames = read_audio(source, rate, offset_in_s=offset, duration_in_s=duration, mix=False, info=self.info)
        if len(frames) < end - start:
            raise ValueError(
                f"{self.song.metadata.name} had {self.info.frames} frames, but now ends after {start + len(frames)}."
            )
        return frames.T


def mix_to_mono(audio: np.ndarray, left: float = 0.5) -> np.ndarray:
    """Mono `[T]` of `[channels, T]`: `left` times the first of two channels plus `1 - left` times the second.

    Other numbers of channels are averaged.
    """
    if len(audio) != 2:
        return audio.mean(axis=0)
    return np.float32(left) * audio[0] + np.float32(1 - left) * audio[1]


def open_recordings(songs: Iterable[Song], sampling_rate: int) -> tuple[list[Recording], dict[str, str]]:
    """Find the lengths of songs. One that ends before its header says is used as far as it goes, and logged.

    Returns:
        The recordings that can be read, in order, and the reason for each, by name, that cannot. These are logged.

    Raises:
        ValueError: there are songs, but none of them can be read.
    """
    recordings, unreadable = [], {}
    for position, (song, info) in enumerate(_headers(songs)):
        if isinstance(info, AudioInfo):
            recordings.append(_recording(song, info, sampling_rate, position))
        else:
            unreadable[song.metadata.name] = str(info)
            logger.warning("Left out, as it cannot be read: %s (%s)", song.metadata.name, info)
    if unreadable and not recordings:
        name, reason = next(iter(unreadable.items()))
        raise ValueError(f"None of the {len(unreadable)} audio files can be read; the first, {name}: {reason}")
    return recordings, unreadable


def open_recording(song: Song, sampling_rate: int) -> Recording:
    """Find the length of one song, as [`open_recordings`] does.

    Raises:
        OSError, ValueError, RuntimeError: it cannot be read.
    """
    with song.audio.file() as source:
        return _recording(song, audio_info(source), sampling_rate)


def _recording(song: Song, info: AudioInfo, sampling_rate: int, position: int = 0) -> Recording:
    if info.remark is not None:
        logger.warning("%s %s What is there is used.", song.metadata.name, info.remark)
    return Recording(song, info, sampling_rate, position)


def is_held_out(position: int, num_songs: int, train_fraction: float = 0.9) -> bool:
    """Whether a song is for validation: the first `train_fraction` of the songs, by position, are for training.

    Songs that are left out count, so that a song is on the same side whatever the length of a chunk is.
    """
    return position >= max(1, int(num_songs * train_fraction))


def _headers(songs: Iterable[Song]) -> Iterator[tuple[Song, AudioInfo | Exception]]:
    def header(song: Song) -> tuple[Song, AudioInfo | Exception]:
        try:
            with song.audio.file() as source:
                info = audio_info(source)
            return song, info if info.frames else ValueError("it has no samples.")
        except READING_ERRORS as error:
            return song, error

    with ThreadPoolExecutor(8) as pool:  # opening a file is mostly waiting
        yield from pool.map(header, songs)
