"""Recordings at a model's rate: a range of samples is the same however it is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...audio import AudioInfo, audio_info, prepare_audio, read_audio, resampled_length
from .songs import Song

logger = logging.getLogger(__name__)

# Raised for files that are missing, damaged or not audio. (libsndfile's own error is a RuntimeError.)
READING_ERRORS = (OSError, ValueError, RuntimeError)

_BLOCK = 65536  # samples at the model's rate that are resampled at a time, approximately
_PIECE = 2**23  # samples held in stereo at a time
_REACH = 256  # samples at the lower of both rates, beyond which the resampling filter has no effect


@dataclass(frozen=True)
class Recording:
    """Song of known length, at the rate of a model.

    Attributes:
        song: Song of the recording.
        info: Frames, rate and channels of the file, and positions of the frames of an mp3, found once for all reads.
        sampling_rate: Sampling rate of the model, in Hz; all lengths and positions are counted in its samples.
        position: Index among the songs of the data, readable or not: see [`is_held_out`].
    """

    song: Song
    info: AudioInfo
    sampling_rate: int
    position: int = 0

    @property
    def num_samples(self) -> int:
        """Length of the whole song at the model's rate."""
        return resampled_length(self.info.frames, self.info.sampling_rate, self.sampling_rate)

    def read(self, start: int, length: int) -> np.ndarray:
        """Read the samples `start` to `start + length`, float32 `[channels, length]`.

        A file of another rate is resampled in blocks at fixed positions, each with its context. So a sample does not
        depend on the range that it is read with.

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

    def read_mono(self, start: int, length: int, left_gain: float = 0.5) -> np.ndarray:
        """Read the samples `start` to `start + length`, mixed to mono by [`mix_to_mono`], float32 `[length]`."""
        pieces = [
            mix_to_mono(self.read(first, min(_PIECE, start + length - first)), left_gain)
            for first in range(start, start + length, _PIECE)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _resampled(self, start: int, end: int) -> np.ndarray:
        common = math.gcd(self.info.sampling_rate, self.sampling_rate)
        frames_per_step, samples_per_step = self.info.sampling_rate // common, self.sampling_rate // common
        # Everything here is counted in steps: the shortest time that is a whole number of samples at both rates.
        block = -(-_BLOCK // samples_per_step)
        reach = -(-_REACH * math.ceil(frames_per_step / samples_per_step) // frames_per_step)
        first = start // (block * samples_per_step) * block
        begins = range(first, -(-end // samples_per_step), block)

        context_start = max(first - reach, 0)
        last_frame = min((begins[-1] + block + reach) * frames_per_step, self.info.frames)
        frames = self._frames(context_start * frames_per_step, last_frame)
        resampled = []
        for begin in begins:
            before, after = max(begin - reach, 0), begin + block + reach
            part = frames[:, (before - context_start) * frames_per_step : (after - context_start) * frames_per_step]
            samples = prepare_audio(part, self.info.sampling_rate, self.sampling_rate)
            resampled.append(samples[:, (begin - before) * samples_per_step :][:, : block * samples_per_step])
        joined = np.concatenate(resampled, axis=1)  # [channels, samples from `first` on]
        return joined[:, start - first * samples_per_step : end - first * samples_per_step]

    def _frames(self, start: int, end: int) -> np.ndarray:
        """Read frames of the file at its own rate, `[channels, end - start]`."""
        rate = self.info.sampling_rate
        offset, duration = start / rate, (end - start) / rate
        with self.song.audio.file() as source:
            frames = read_audio(source, rate, offset_in_s=offset, duration_in_s=duration, mix=False, info=self.info)
        if len(frames) < end - start:
            raise ValueError(
                f"{self.song.metadata.name} had {self.info.frames} frames, but now ends after {start + len(frames)}."
            )
        return frames.T


def mix_to_mono(audio: np.ndarray, left_gain: float = 0.5) -> np.ndarray:
    """Mix `[channels, T]` to mono `[T]`: two channels are weighted by `left_gain` and `1 - left_gain`.

    Other numbers of channels are averaged.
    """
    if len(audio) != 2:
        return audio.mean(axis=0)
    return np.float32(left_gain) * audio[0] + np.float32(1 - left_gain) * audio[1]


def open_recordings(songs: Iterable[Song], sampling_rate: int) -> tuple[list[Recording], dict[str, str]]:
    """Determine the lengths of songs. A file that ends before its header says is used up to there, and logged.

    Returns:
        The readable recordings, in order, and by name the reason for each unreadable one, which is also logged.

    Raises:
        ValueError: there are songs, but none of them can be read.
    """
    recordings, unreadable = [], {}
    for position, (song, info) in enumerate(_headers(songs)):
        if isinstance(info, AudioInfo):
            recordings.append(_recording(song, info, sampling_rate, position))
        else:
            unreadable[song.metadata.name] = str(info)
            logger.warning("Skipping a file that cannot be read: %s (%s)", song.metadata.name, info)
    if unreadable and not recordings:
        name, reason = next(iter(unreadable.items()))
        raise ValueError(f"None of the {len(unreadable)} audio files can be read; the first, {name}: {reason}")
    return recordings, unreadable


def open_recording(song: Song, sampling_rate: int) -> Recording:
    """Determine the length of one song, as [`open_recordings`] does.

    Raises:
        OSError, ValueError, RuntimeError: the song cannot be read.
    """
    with song.audio.file() as source:
        return _recording(song, audio_info(source), sampling_rate)


def _recording(song: Song, info: AudioInfo, sampling_rate: int, position: int = 0) -> Recording:
    if info.remark is not None:
        logger.warning("%s %s Using what is there.", song.metadata.name, info.remark)
    return Recording(song, info, sampling_rate, position)


def is_held_out(position: int, num_songs: int, train_fraction: float = 0.9) -> bool:
    """Return True if a song is for validation: the first `train_fraction` of the songs, by position, are for training.

    Songs that are left out count as well, so that the division does not depend on the length of a chunk.
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

    with ThreadPoolExecutor(8) as pool:  # opening a file is mostly waiting for the disk
        yield from pool.map(header, songs)
