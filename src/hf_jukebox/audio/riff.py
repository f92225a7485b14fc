"""Chunks of wav files: those that libsndfile reads wrongly, with mp3 or never finished, and headers of streams."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Self

_MPEG = (0x50, 0x55)  # format tags: layers I and II, layer III
_EXTENSIBLE = 0xFFFE  # the format tag follows in the extension
_OPEN_SIZE = 0xFFFFFFFF  # means "up to the end of the file", as programs that write to a pipe use it
_MAX_CHUNKS = 1000


class WavData(NamedTuple):
    """The position and kind of the samples in a wav file.

    Attributes:
        begin, end: Bytes of the file.
        is_mpeg: True if the samples are MPEG audio, not PCM.
        is_unfinished: True if the header says that there are none, as after a recorder is switched off.
    """

    begin: int
    end: int
    is_mpeg: bool
    is_unfinished: bool

    @classmethod
    def find(cls, file: BinaryIO) -> Self | None:
        """Find the samples; return None if this is not a wav file, or has none."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        tag = 0
        for name, begin, length in iter_chunks(file, 12, size):
            if name == b"fmt ":
                file.seek(begin)
                content = file.read(26)
                tag = int.from_bytes(content[:2], "little")
                tag = int.from_bytes(content[24:26], "little") if tag == _EXTENSIBLE else tag
            elif name == b"data":
                unfinished = length == 0 and begin < size and not _are_chunks(file, begin, size)
                end = size if length in (0, _OPEN_SIZE) else min(begin + length, size)
                return cls(begin, end, tag in _MPEG, unfinished)
        return None


class FinishedWav(io.RawIOBase):
    """An unfinished wav file, with sizes in its header that mean "up to the end of the file"."""

    def __init__(self, file: BinaryIO, data: WavData) -> None:
        self._file = file
        self._size_offsets = (4, data.begin - 4)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        position = self._file.tell()
        content = bytearray(self._file.read(len(buffer)))
        for offset in self._size_offsets:
            for byte in range(max(offset - position, 0), min(offset + 4 - position, len(content))):
                content[byte] = _OPEN_SIZE & 0xFF
        buffer[: len(content)] = content
        return len(content)


def wav_header(num_samples: int | None, sampling_rate: int) -> bytes:
    """Return the header of a 16-bit mono wav file; without a number of samples it ends where its stream ends."""
    size = _OPEN_SIZE if num_samples is None else 2 * num_samples
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sampling_rate, 2 * sampling_rate, 2, 16)
    riff = struct.pack("<4sI4s", b"RIFF", min(4 + len(form) + 8 + size, _OPEN_SIZE), b"WAVE")
    return riff + form + struct.pack("<4sI", b"data", min(size, _OPEN_SIZE))


def iter_chunks(file: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of the chunks from a position on; the last length may exceed the file."""
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], position + 8, length
        position += 8 + length + length % 2
        if position > end:
            return


def _are_chunks(file: BinaryIO, position: int, end: int) -> bool:
    """Return whether well-formed chunks follow, up to the end of the file."""
    for name, begin, length in iter_chunks(file, position, end):
        if not (name.isascii() and name.decode("ascii").isprintable()) or begin + length > end:
            return False
        position = begin + length + length % 2
    return position >= end
