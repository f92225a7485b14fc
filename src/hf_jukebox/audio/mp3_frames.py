"""An index of the frames of an mp3, read from their headers: its true length, and where to start decoding.

An mp3 has no table of contents. The length in its first frame is missing, estimated or wrong in many files (no Xing or
Info frame, cover art, tags and padding at both ends, joined and cut files), and decoders rely on it. mutagen reads tags
and estimates, but returns no positions of frames, hence this module.

References: ISO/IEC 11172-3 and 13818-3 (headers, side information, bit reservoir), the Xing/LAME and VBRI tags.
"""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

STRIDE = 16
"""Frames per entry of an index. The decoder's arithmetic has a period of at most 8 frames: decoding that starts at a
multiple of it gives the same samples, bit for bit, as decoding from the start."""
MAX_FRAME_BYTES = 2881  # 160 kbit/s at 8 kHz, layer II
RESERVOIR_BYTES = 511  # bytes of earlier frames that a frame may refer to, at most

_SEARCHED = 2**20  # bytes after the tags that are searched for the first frame
_WINDOW = 2**16  # bytes read at a time in search of the next frame
_DECODER_DELAY = 529  # samples
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")  # those that record how much silence they have added

_RATES = (44100, 48000, 32000)
_KBITS = {  # by (MPEG-1 or not, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class FrameKind(NamedTuple):
    """The properties that all frames of a file share."""

    mpeg1: bool
    layer: int
    sampling_rate: int
    channels: int

    @property
    def samples(self) -> int:
        """Samples per frame."""
        return 384 if self.layer == 1 else 1152 if self.mpeg1 or self.layer == 2 else 576

    @property
    def side(self) -> int:
        """Bytes of side information per frame, in layer III."""
        return (17, 32)[self.channels - 1] if self.mpeg1 else (9, 17)[self.channels - 1]


class FrameHeader(NamedTuple):
    """The header of a frame: its kind, its size in bytes, and the size of its checksum (0 or 2)."""

    kind: FrameKind
    size: int
    checksum: int


@lru_cache(4096)
def read_header(head: bytes) -> FrameHeader | None:
    """Parse the first four bytes of a frame; return None if they are not a header, or have a free bit rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    kind = FrameKind(version == 3, layer, _RATES[rate] >> (0, 0, 1, 0)[version] >> 2 * (version == 0), 1)
    kind = kind._replace(channels=1 if head[3] >> 6 == 3 else 2)
    slot = 4 if layer == 1 else 1
    bits = 1000 * _KBITS[kind.mpeg1, layer][kbits - 1]
    size = (kind.samples // 8 // slot * bits // kind.sampling_rate + (head[2] >> 1 & 1)) * slot
    return FrameHeader(kind, size, 0 if head[1] & 1 else 2)


@dataclass(frozen=True)
class Mp3Index:
    """The positions of the frames of an mp3, and its length; a few kilobytes per song.

    Attributes:
        kind: Kind of all frames.
        num_frames: Number of frames with audio, which excludes a Xing, Info or VBRI frame.
        offsets: Byte of the file at which each 16th frame begins.
        spans: Bytes `(begin, end)` of consecutive frames with nothing in between.
        delay: Samples that the encoder has added at the front.
        length: Samples per channel, without those that the encoder has added.
        stated_length: Samples per channel according to the tag; None without a tag.
    """

    kind: FrameKind
    num_frames: int
    offsets: array[int] = field(repr=False, compare=False)
    spans: list[tuple[int, int]] = field(repr=False, compare=False)
    delay: int
    length: int
    stated_length: int | None

    def start(self, sample: int) -> tuple[int, int]:
        """Return the frame at which to start decoding in order to read from `sample` on, and the samples to drop.

        A sample depends on earlier frames: one for the overlap of the transform, one for the filter bank, and those
        before them that hold the bit reservoir.
        """
        position = sample + self.delay
        last = max(position // self.kind.samples - 2, 0) // STRIDE
        entry = min(last, len(self.offsets) - 1)
        overhead = STRIDE * (6 + self.kind.side)  # bytes per entry that do not count towards the reservoir
        needed = RESERVOIR_BYTES if self.kind.layer == 3 else 0
        while entry > 0 and self.offsets[last] - self.offsets[entry] - (last - entry) * overhead < needed:
            entry -= 1
        return entry * STRIDE, position - entry * STRIDE * self.kind.samples


def index_mp3(file: BinaryIO, begin: int = 0, end: int | None = None) -> Mp3Index | None:
    """Index the frames of an mp3 (or MPEG audio of layer I or II) in the bytes `begin` to `end` of a file.

    Returns:
        The index, or None if there is no such audio within a megabyte after the tags.
    """
    end = file.seek(0, io.SEEK_END) if end is None else end
    begin = skip_id3_tags(file, begin, end)
    first_frame = _next_frame(file, begin, min(begin + _SEARCHED, end), end, None)
    if first_frame is None:
        return None
    file.seek(first_frame)
    content = file.read(MAX_FRAME_BYTES)
    header = read_header(content[:4])
    assert header is not None
    kind = header.kind
    tag = _Tag.parse(content[: header.size], kind)
    offsets, spans, num_frames = _walk(file, first_frame if tag is None else first_frame + header.size, end, kind)
    if not num_frames:
        return None
    raw = num_frames * kind.samples
    if tag is None:
        return Mp3Index(kind, num_frames, offsets, spans, 0, raw, None)
    delay = min(tag.delay, raw)
    stated_length = max(tag.frames * kind.samples - tag.delay - tag.padding, 0)
    # A cut or joined file keeps all samples at its end.
    length = stated_length if num_frames == tag.frames else raw - delay
    return Mp3Index(kind, num_frames, offsets, spans, delay, length, stated_length if tag.frames else None)


class _Tag(NamedTuple):
    """Content of a first frame without audio: number of frames (0 if absent), and samples added by the encoder."""

    frames: int
    delay: int = 0
    padding: int = 0

    @classmethod
    def parse(cls, frame: bytes, kind: FrameKind) -> _Tag | None:
        """Parse a Xing, Info or VBRI tag; return None if the frame has none."""
        if kind.layer != 3:
            return None
        if frame[36:40] == b"VBRI":
            return cls(int.from_bytes(frame[50:54]))
        tag = 4 + kind.side
        if frame[tag : tag + 4] not in (b"Xing", b"Info"):
            return None
        flags = int.from_bytes(frame[tag + 4 : tag + 8])
        frames = int.from_bytes(frame[tag + 8 : tag + 12]) if flags & 1 else 0
        lame = tag + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        added = int.from_bytes(frame[lame + 21 : lame + 24])
        if frame[lame : lame + 4] not in _ENCODERS or len(frame) < lame + 24:
            return cls(frames)
        return cls(frames, (added >> 12) + _DECODER_DELAY, max((added & 0xFFF) - _DECODER_DELAY, 0))


def _walk(file: BinaryIO, position: int, end: int, kind: FrameKind) -> tuple[array[int], list[tuple[int, int]], int]:
    """Return offsets, spans and count of frames from `position` to `end`; a truncated last one does not count."""
    offsets, spans, count, begin = array("q"), [], 0, position
    while True:
        file.seek(position)
        header = read_header(file.read(4))
        if header is not None and header.kind == kind and position + header.size <= end:
            if count % STRIDE == 0:
                offsets.append(position)
            count += 1
            position += header.size
            continue
        if position > begin:
            spans.append((begin, position))
        following = _next_frame(file, position, end, end, kind)
        if following is None:
            return offsets, spans, count
        position = begin = following


def skip_id3_tags(file: BinaryIO, position: int, end: int) -> int:
    """Return the position of the first byte after the ID3 tags that begin at `position`."""
    while position < end:
        file.seek(position)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3" or max(tag[6:]) > 127:
            break
        footer = 10 if tag[5] & 0x10 else 0
        position += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]) + footer
    return position


def _next_frame(file: BinaryIO, position: int, until: int, end: int, kind: FrameKind | None) -> int | None:
    """Find the first byte from `position` to `until` at which frames of a kind begin, or of any kind if it is None."""
    while position < until:
        file.seek(position)
        window = file.read(min(_WINDOW + 3 * MAX_FRAME_BYTES + 4, end - position))
        offset = window.find(b"\xff", 0, _WINDOW)
        while offset >= 0:
            if _frames_begin(window, offset, end - position, kind):
                return position + offset if position + offset < until else None
            offset = window.find(b"\xff", offset + 1, _WINDOW)
        position += _WINDOW
    return None


def _frames_begin(window: bytes, offset: int, end: int, kind: FrameKind | None) -> bool:
    """Return whether three frames of one kind begin at `offset`, or fewer that reach the end of the audio."""
    for _ in range(3):
        header = read_header(window[offset : offset + 4])
        if header is None or offset + header.size > end or (kind is not None and header.kind != kind):
            return False
        kind, offset = header.kind, offset + header.size
        if offset == end or window[offset : offset + 3] == b"TAG":
            return True
    return True
