"""Wav files that libsndfile does not read as they are meant: mp3 inside of them, and recordings never finished."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Self

_MPEG = (0x50, 0x55)  # format tags: layers I and II, layer III
_EXTENSIBLE = 0xFFFE  # the format tag follows further on
_OPEN = 0xFFFFFFFF  # a size that says "up to the end", as writers into a pipe put it
_MANY = 1000  # chunks in a file


class WavData(NamedTuple):
    """Where the samples of a wav file are.

    Attributes:
        begin, end: Bytes of the file.
        is_mpeg: They are MPEG audio, not PCM.
        is_unfinished: The header says that there are none, as a recorder leaves it that was switched off.
    """

    begin: int
    end: int
    is_mpeg: bool
    is_unfinished: bool

    @classmethod
    def of(cls, file: BinaryIO) -> Self | None:
        """Look for the samples; None if it is no wav file, or has none."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        tag = 0
        for name, begin, length in _chunks(file, 12, size):
            if name == b"fmt ":
                file.seek(begin)
                content = file.read(26)
                tag = int.from_bytes(content[:2], "little")
                tag = int.from_bytes(content[24:26], "little") if tag == _EXTENSIBLE else tag
            elif name == b"data":
                unfinished = length == 0 and begin < size and not _are_chunks(file, begin, size)
                end = size if length in (0, _OPEN) else min(begin + length, size)
                return cls(begin, end, tag in _MPEG, unfinished)
        return None


class FinishedWav(io.RawIOBase):
    """An unfinished wav file with a header that says: up to the end."""

    def __init__(self, file: BinaryIO, data: WavData) -> None:
        self._file = file
        self._sizes = (4, data.begin - 4)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        place = self._file.tell()
        content = bytearray(self._file.read(len(buffer)))
        for at in self._sizes:
            for byte in range(max(at - place, 0), min(at + 4 - place, len(content))):
                content[byte] = _OPEN & 0xFF
        buffer[: len(content)] = content
        return len(content)


def _chunks(file: BinaryIO, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of the chunks from a place on; the last may say that it is longer than the file."""
    for _ in range(_MANY):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        yield head[:4], place + 8, length
        place += 8 + length + length % 2
        if place > end:
            return


def _are_chunks(file: BinaryIO, place: int, end: int) -> bool:
    """Whether what follows are well-formed chunks, up to the end of the file."""
    for name, begin, length in _chunks(file, place, end):
        if not (name.isascii() and name.decode("ascii").isprintable()) or begin + length > end:
            return False
        place = begin + length + length % 2
    return place >= end
