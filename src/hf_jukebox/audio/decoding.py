"""Readers of audio files: the format by content, the true length, and the samples from front to back."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import soundfile

from ..files.text import user_path
from .mp3_frames import Mp3Index, index_mp3, skip_id3_tags
from .mp3_stream import Mp3Stream
from .ogg_pages import is_chained
from .recognition import READABLE, not_readable, unsupported
from .riff import FinishedWav, WavData

AudioSource = str | os.PathLike[str] | bytes | BinaryIO
"""An audio file: its path, its content, or a file opened in binary mode."""

_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")  # libsndfile's own
_UNKNOWN = 2**62  # frames: libsndfile returns 2**63 - 1 for a flac whose header has no length


@dataclass(frozen=True)
class AudioInfo:
    """Length and form of an audio file.

    Attributes:
        frames: Readable samples per channel; counted if the header has no length or a wrong one.
        sampling_rate: Rate in Hz.
        channels: Number of channels.
        stated_frames: Samples per channel according to the header if the file ends earlier, else None.
        chained: True for an ogg file with another stream after this one, which is not read.
        index: Positions of the frames of an mp3; None for other files.
    """

    frames: int
    sampling_rate: int
    channels: int
    stated_frames: int | None = None
    chained: bool = False
    index: Mp3Index | None = field(default=None, repr=False)

    @property
    def duration_in_s(self) -> float:
        return self.frames / self.sampling_rate

    @property
    def remark(self) -> str | None:
        """A predicate about what is missing at the end, for a message; None if the file is complete."""
        if self.chained:
            return (
                f"has another stream after {self.duration_in_s:.2f} s, which is not read; convert it to wav to read "
                "both."
            )
        if self.stated_frames is None:
            return None
        stated = self.stated_frames / self.sampling_rate
        return f"is cut short: it ends after {self.duration_in_s:.2f} s, but its header says {stated:.2f} s."


def source_name(source: AudioSource) -> str:
    """Name a source of audio for messages: its path, or "The audio" where it has none."""
    if isinstance(source, (str, os.PathLike)):
        return str(user_path(source))
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "The audio"


class AudioReader:
    """An audio file that is read from front to back; created by [`open_audio`].

    Attributes:
        name: Name of the file in messages.
        sampling_rate: Rate in Hz.
        channels: Number of channels.
        index: Positions of the frames of an mp3; None for other files.
    """

    def __init__(self, name: str, file: BinaryIO, info: AudioInfo | None) -> None:
        self.name = name
        wav = WavData.find(file)
        self._file = file
        self._unfinished = wav if wav is not None and wav.is_unfinished and not wav.is_mpeg else None
        self.index = _index(name, file, wav) if info is None else info.index
        self._opened: soundfile.SoundFile | None = None
        self._remaining: int | None = None  # frames up to the end of an mp3
        if self.index is None:
            self.sampling_rate, self.channels = self._sound.samplerate, self._sound.channels
        else:
            self.sampling_rate, self.channels = self.index.kind.sampling_rate, self.index.kind.channels

    def start_at(self, frame: int) -> None:
        """Move to a frame, or to the end of a shorter file; call it before the first `read`."""
        if self.index is not None:
            self._open(min(frame, self.index.length))
            return
        try:
            self._sound.seek(min(frame, self._sound.frames))
        except soundfile.LibsndfileError:  # a flac that is cut short has no last frame to search from
            self._open(0)
            self._drop(frame)

    def read(self, frames: int) -> np.ndarray:
        """Return the next `frames` frames, float32 `[frames, channels]`, fewer at the end of the file.

        Raises:
            ValueError: the file is damaged at this position.
        """
        sound = self._sound
        frames = frames if self._remaining is None else min(frames, self._remaining)
        try:
            block: np.ndarray = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self.name} is damaged or cut short ({error.error_string.rstrip('.')}).") from error
        if self._remaining is not None:
            self._remaining -= len(block)
        return block

    def info(self) -> AudioInfo:
        """Determine the true length; this moves the reader to an arbitrary position."""
        stated_frames = None
        if self.index is not None:
            frames = self.index.length
            if self.index.stated_length is not None and self.index.stated_length > frames:
                stated_frames = self.index.stated_length
            return AudioInfo(frames, self.sampling_rate, self.channels, stated_frames, index=self.index)
        frames = self._sound.frames
        if self._sound.format == "FLAC" and frames and not (frames < _UNKNOWN and self._has(frames - 1)):
            stated_frames = frames if frames < _UNKNOWN else None
            frames = self._count()
        chained = self._sound.format == "OGG" and is_chained(self._file)
        return AudioInfo(frames, self.sampling_rate, self.channels, stated_frames, chained)

    def remark(self) -> str | None:
        """Return the remark of `info` before anything is read; None for a flac, whose end would have to be found."""
        if self.index is None and self._sound.format != "OGG":
            return None
        remark = self.info().remark
        if self.index is None:
            self._open(0)
        return remark

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _sound(self) -> soundfile.SoundFile:
        """The decoder, opened at the start of the file unless `start_at` was called before."""
        if self._opened is None:
            self._open(0)
        return self._opened

    def _open(self, frame: int) -> None:
        """Open the file at the start, or an mp3 at a frame."""
        self.close()
        try:
            if self.index is None:
                self._file.seek(0)
                wav = self._unfinished
                self._opened = _ForwardSoundFile(self._file if wav is None else FinishedWav(self._file, wav))
                return
            first, dropped = self.index.start(frame)
            self._remaining = dropped + self.index.length - frame
            self._opened = _ForwardSoundFile(io.BufferedReader(Mp3Stream(self._file, self.index, first)))
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: soundfile needs the rate of a .raw file
            damaged = f"{self.name} is damaged or cut short: its frames cannot be decoded."
            raise ValueError(not_readable(self.name) if self.index is None else damaged) from error
        self._drop(dropped)

    def _drop(self, frames: int) -> None:
        while frames > 0 and (block := self.read(min(frames, 2**18))).size:
            frames -= len(block)

    def _has(self, frame: int) -> bool:
        try:
            self._sound.seek(frame)
            return len(self._sound.read(1)) == 1
        except soundfile.LibsndfileError:
            return False

    def _count(self) -> int:
        self._open(0)
        frames = 0
        try:
            while size := len(self._sound.read(4096)):  # about a block of flac; a damaged one is not counted
                frames += size
        except soundfile.LibsndfileError:
            pass
        return frames


@contextmanager
def open_audio(source: AudioSource, info: AudioInfo | None = None) -> Iterator[AudioReader]:
    """Open a file to read its samples.

    Args:
        source: Path, content or binary file; the latter is read from its beginning and left open.
        info: Result of `AudioReader.info` for the same file, which saves indexing an mp3 again.

    Raises:
        OSError: the file is missing, is a folder or may not be read.
        ValueError: the file is empty or is not audio.
    """
    name = source_name(source)
    with ExitStack() as stack:
        file = _binary(source, name, stack)
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise ValueError(f"{name} is empty (0 bytes); give a {READABLE} file.")
        reader = AudioReader(name, file, info)
        stack.callback(reader.close)
        yield reader


class _ForwardSoundFile(soundfile.SoundFile):
    """A sound file that is only read from front to back.

    soundfile seeks to the current position after every read of a seekable file. In an mp3 that drops the decoder's bit
    reservoir, and the first samples of each block are wrong; so this class reports that it cannot seek.
    """

    def seekable(self) -> bool:
        return False


def _binary(source: AudioSource, name: str, stack: ExitStack) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, (str, os.PathLike)):
        path = user_path(source)
        if path.is_dir():
            raise IsADirectoryError(f"{name} is a folder; give the name of an audio file.")
        if not path.exists():
            raise FileNotFoundError(f"There is no file {name}; check the name of the audio file.")
        if not os.access(path, os.R_OK):
            raise PermissionError(f"{name} may not be read; check its permissions.")
        return stack.enter_context(open(path, "rb", buffering=2**16))
    if not isinstance(source, io.IOBase) and not hasattr(source, "read"):
        raise ValueError(f"Audio is read from a path, bytes or a binary file, not from {type(source).__name__}.")
    if isinstance(source, io.TextIOBase):
        raise ValueError(f"{name} is opened as text; open it with mode 'rb'.")
    return source if source.seekable() else io.BytesIO(source.read())


def _index(name: str, file: BinaryIO, wav: WavData | None) -> Mp3Index | None:
    """Return the index of an mp3, or None for a format that libsndfile reads by itself.

    Raises:
        ValueError: the file is neither.
    """
    file.seek(0)
    head = file.read(64)
    if (reason := unsupported(name, head)) is not None:
        raise ValueError(reason)
    tagged = head[:3] == b"ID3"
    if tagged:
        file.seek(skip_id3_tags(file, 0, file.seek(0, io.SEEK_END)))
        head = file.read(4)
    if head.startswith(_CONTAINERS):
        return index_mp3(file, wav.begin, wav.end) if wav is not None and wav.is_mpeg else None
    index = index_mp3(file)
    if index is None and tagged:
        raise ValueError(not_readable(name))  # else libsndfile would try its mp3 decoder, which writes to stderr
    return index
