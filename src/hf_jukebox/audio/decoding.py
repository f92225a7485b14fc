"""Audio files opened for reading: what a file is by its content, how long it is in truth, and its samples in order."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from ..files.text import user_path
from ..ogg_pages import is_chained
from .mp3_frames import Mp3Index, Mp3Stream, behind_tags, index_mp3
from .riff import FinishedWav, WavData

AudioSource = str | os.PathLike[str] | bytes | BinaryIO
"""A file: its path, its content, or the file itself, opened in binary mode."""

READABLE = "wav, flac, ogg (Vorbis or Opus) or mp3"

_ELSEWHERE = {".aac", ".alac", ".ape", ".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma", ".wv"}
_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")  # libsndfile's own
_UNKNOWN = 2**62  # frames: libsndfile says 2**63 - 1 of a flac whose header leaves its length open

# What is no audio for libsndfile, by the bytes at a place.
_FOREIGN_AUDIO = [
    (4, b"ftyp", "MPEG-4 audio"),
    (0, b"\x30\x26\xb2\x75", "Windows Media audio or video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"MPCK", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"DSD ", "DSD audio"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"FLV", "Flash video"),
]
_NO_AUDIO = [
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"{", "JSON text"),
    (b"%pdf", "a PDF"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89png", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"mthd", "MIDI: notes without sound"),
]


@dataclass(frozen=True)
class AudioInfo:
    """Length and form of an audio file.

    Attributes:
        frames: Samples per channel that can be read: counted where the header says nothing or something else.
        sampling_rate: In Hz.
        channels: Number of channels.
        promised: Samples per channel that the header says there are, where the file ends earlier; else None.
        chained: There is another stream behind this one in an ogg file, which is not read.
        index: Where the frames of an mp3 are; None for other files.
    """

    frames: int
    sampling_rate: int
    channels: int
    promised: int | None = None
    chained: bool = False
    index: Mp3Index | None = field(default=None, repr=False)

    @property
    def duration_in_s(self) -> float:
        return self.frames / self.sampling_rate

    @property
    def remark(self) -> str | None:
        """A sentence about what is missing at the end; None where nothing is."""
        if self.chained:
            return f"holds another stream behind {self.duration_in_s:.2f} s, not read; convert it to wav for both."
        if self.promised is None:
            return None
        promised = self.promised / self.sampling_rate
        return f"is cut short: it ends after {self.duration_in_s:.2f} s, but its header says {promised:.2f} s."


def source_name(source: AudioSource) -> str:
    """Name a source of audio for messages: its path, or "The audio" where it has none."""
    if isinstance(source, (str, os.PathLike)):
        return str(user_path(source))
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "The audio"


class AudioReader:
    """An audio file that is read from front to back; [`open_audio`] makes one.

    Attributes:
        name: As messages call the file.
        sampling_rate: In Hz.
        channels: Number of channels.
        index: Where the frames of an mp3 are; None for other files.
    """

    def __init__(self, name: str, file: BinaryIO, info: AudioInfo | None) -> None:
        self.name = name
        wav = WavData.of(file)
        self._file = file
        self._unfinished = wav if wav is not None and wav.is_unfinished and not wav.is_mpeg else None
        self.index = _index(name, file, wav) if info is None else info.index
        self._opened: soundfile.SoundFile | None = None
        self._left: int | None = None  # samples up to the end of an mp3
        if self.index is None:
            self.sampling_rate, self.channels = self._sound.samplerate, self._sound.channels
        else:
            self.sampling_rate, self.channels = self.index.kind.sampling_rate, self.index.kind.channels

    def start_at(self, frame: int) -> None:
        """Move from the start of the file to a frame, or to its end."""
        if self.index is not None:
            self._open(min(frame, self.index.length))
            return
        try:
            self._sound.seek(min(frame, self._sound.frames))
        except soundfile.LibsndfileError:  # in a flac that is cut short the last frame is not there to search from
            self._open(0)
            self._drop(frame)

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames, float32 `[frames, channels]`, fewer at the end of the file.

        Raises:
            ValueError: the file is damaged there.
        """
        sound = self._sound
        frames = frames if self._left is None else min(frames, self._left)
        try:
            block: np.ndarray = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self.name} is damaged or cut short ({error.error_string.rstrip('.')}).") from error
        if self._left is not None:
            self._left -= len(block)
        return block

    def info(self) -> AudioInfo:
        """The true length; afterwards the reader may be anywhere in the file."""
        promised = None
        if self.index is not None:
            frames = self.index.length
            if self.index.promised is not None and self.index.promised > frames:
                promised = self.index.promised
            return AudioInfo(frames, self.sampling_rate, self.channels, promised, index=self.index)
        frames = self._sound.frames
        if self._sound.format == "FLAC" and frames and not (frames < _UNKNOWN and self._has(frames - 1)):
            promised = frames if frames < _UNKNOWN else None
            frames = self._count()
        chained = self._sound.format == "OGG" and is_chained(self._file)
        return AudioInfo(frames, self.sampling_rate, self.channels, promised, chained)

    def remark(self) -> str | None:
        """The remark of `info`, before anything is read; of a flac None, as its end would have to be looked for."""
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
        """What decodes: opened at the start, unless `start_at` was called before."""
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
            self._left = dropped + self.index.length - frame
            self._opened = _ForwardSoundFile(io.BufferedReader(Mp3Stream(self._file, self.index, first)))
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: of a .raw file it wants the rate
            damaged = f"{self.name} is damaged or cut short: its frames cannot be decoded."
            raise ValueError(_not_readable(self.name) if self.index is None else damaged) from error
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
            while size := len(self._sound.read(4096)):  # a block of flac, as a rule: one that is damaged counts as none
                frames += size
        except soundfile.LibsndfileError:
            pass
        return frames


@contextmanager
def open_audio(source: AudioSource, info: AudioInfo | None = None) -> Iterator[AudioReader]:
    """Open a file to read its samples.

    Args:
        source: Path, content or binary file; the latter is read from its beginning and left open.
        info: Of this very file, if it is there already: then an mp3 is not walked through again.

    Raises:
        OSError: the file is missing, is a folder or may not be read.
        ValueError: it is empty or is not audio.
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
    """A file that is read from front to back.

    soundfile seeks to the current position after every read of a seekable file. In an mp3 that drops the decoder's bit
    reservoir, and the first samples of each block are wrong; so this file says that it cannot seek.
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
    """The index of an mp3, None for what libsndfile reads by itself.

    Raises:
        ValueError: it is neither.
    """
    file.seek(0)
    head = file.read(64)
    if (foreign := _foreign(name, head)) is not None:
        raise ValueError(foreign)
    tagged = head[:3] == b"ID3"
    if tagged:
        file.seek(behind_tags(file, 0, file.seek(0, io.SEEK_END)))
        head = file.read(4)
    if head.startswith(_CONTAINERS):
        return index_mp3(file, wav.begin, wav.end) if wav is not None and wav.is_mpeg else None
    index = index_mp3(file)
    if index is None and tagged:
        raise ValueError(_not_readable(name))  # else libsndfile would let its mp3 decoder try, which talks on stderr
    return index


def _not_readable(name: str) -> str:
    suffix = Path(name).suffix
    if suffix.lower() in _ELSEWHERE:
        return f"{name}: {suffix} is not supported; convert it to {READABLE}."
    return f"{name} is not audio that can be read; give a {READABLE} file."


def _foreign(name: str, head: bytes) -> str | None:
    """What is wrong with a file that begins like this; None if nothing is, as far as one can see."""
    in_spite = (
        " in spite of its name" if Path(name).suffix.lower() in {".wav", ".flac", ".ogg", ".opus", ".mp3"} else ""
    )
    for place, mark, kind in _FOREIGN_AUDIO:
        if head[place:].startswith(mark):
            if Path(name).suffix.lower() in _ELSEWHERE:
                return _not_readable(name)
            return f"{name} is {kind}{in_spite}; convert it to {READABLE}."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for mark, kind in _NO_AUDIO:
        if text.startswith(mark):
            return f"{name} is {kind}{in_spite}; give a {READABLE} file."
    return None
