"""The frames of an mp3 as a file that libmpg123 decodes from any indexed frame on."""

from __future__ import annotations

import io
from typing import BinaryIO

from .mp3_frames import MAX_FRAME_BYTES, RESERVOIR_BYTES, STRIDE, FrameKind, Mp3Index, read_header


class Mp3Stream(io.RawIOBase):
    """The frames of an mp3 from a given one on, as a file that libmpg123 reads to its end without messages.

    The decoder stops at the end that it computes from the file's size, so this file pretends to be endless. It also
    prints messages on stderr about frames whose bit reservoir is missing, as at the front of the stream; these frames
    are silenced. They only serve to fill the reservoir: their samples are dropped, or could not be decoded anyway.

    Args:
        file: The file with the frames.
        index: Index of that file.
        first: Frame at which to begin, a multiple of 16.
    """

    _SIZE = 2**40

    def __init__(self, file: BinaryIO, index: Mp3Index, first: int) -> None:
        self._file = file
        self._position = 0
        self._parts: list[tuple[int, bytes | int]] = []  # end in this stream; content, or its offset in the file
        length = 0
        begin = index.offsets[first // STRIDE]
        for span_begin, span_end in index.spans:
            if span_end <= begin:
                continue
            span_begin = max(span_begin, begin)
            lead = _silenced(file, span_begin, span_end, index.kind)
            for size, content in ((len(lead), lead), (span_end - span_begin - len(lead), span_begin + len(lead))):
                length += size
                self._parts.append((length, content))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._SIZE}[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted, begin = len(buffer), 0
        if self._position >= self._SIZE - 128:  # where the decoder looks for an ID3v1 tag: there is none
            buffer[:] = bytes(wanted)
            self._position += wanted
            return wanted
        done = 0
        for end, content in self._parts:
            if self._position < end and done < wanted:
                size = min(end - self._position, wanted - done)
                offset = self._position - begin
                if isinstance(content, bytes):
                    part = content[offset : offset + size]
                else:
                    self._file.seek(content + offset)
                    part = self._file.read(size)
                buffer[done : done + len(part)] = part
                done += len(part)
                self._position += len(part)
            begin = end
        return done


def _silenced(file: BinaryIO, position: int, end: int, kind: FrameKind) -> bytes:
    """Return the first frames of a span, with those that refer to bytes before it silenced, until none can any more."""
    frames, filled = bytearray(), 0
    while kind.layer == 3 and filled < RESERVOIR_BYTES and position < end:
        file.seek(position)
        frame = bytearray(file.read(MAX_FRAME_BYTES))
        header = read_header(bytes(frame[:4]))
        if header is None:
            break
        frame, side = frame[: header.size], 4 + header.checksum
        reach = frame[side] << 1 | frame[side + 1] >> 7 if kind.mpeg1 else frame[side]
        if reach > filled:
            kept_bits = bytes([frame[side + 1] & 0x80 if kind.mpeg1 else 0])
            frame[side + 1 : side + kind.side] = kept_bits + bytes(kind.side - 2)
            if header.checksum:
                frame[4:6] = _checksum(bytes(frame[2:4] + frame[6 : 6 + kind.side]))
        filled += header.size - side - kind.side
        frames += frame
        position += header.size
    return bytes(frames)


def _checksum(content: bytes) -> bytes:
    """Return the CRC-16 of a frame's protected bytes: polynomial 0x8005, initial value all ones."""
    value = 0xFFFF
    for byte in content:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
    return value.to_bytes(2)
