"""The frames of an mp3, found by a walk over their headers: its true length, and where to begin to decode.

An mp3 has no table of contents. What its first frame says about the length is missing, an estimate or wrong in many
files (no Xing or Info frame, cover art, tags and padding before and behind, joined and cut files), and decoders believe
it. mutagen reads tags and such estimates, and gives no places; so the walk is our own.

References: ISO/IEC 11172-3 and 13818-3 (headers, side information, bit reservoir), the Xing/LAME and VBRI tags.
"""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

STRIDE = 16
"""Frames from one place of an index to the next. The decoder's arithmetic has a period of 8 frames at most: decoding
that begins at a multiple of it gives the same samples, bit by bit, as decoding from the start."""

_SEARCHED = 2**20  # bytes behind the tags in which the first frame is looked for
_WINDOW = 2**16  # bytes searched at a time for the next frame behind something else
_LONGEST = 2881  # bytes of a frame: 160 kbit/s at 8 kHz, layer II
_RESERVOIR = 511  # bytes of earlier frames that a frame may refer to, at most
_DECODER_DELAY = 529  # samples
_ENCODERS = (b"LAME", b"Lavf", b"Lavc")  # those that write how much silence they have added

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
    """What all frames of a file have in common."""

    mpeg1: bool
    layer: int
    sampling_rate: int
    channels: int

    @property
    def samples(self) -> int:
        """Samples of a frame."""
        return 384 if self.layer == 1 else 1152 if self.mpeg1 or self.layer == 2 else 576

    @property
    def side(self) -> int:
        """Bytes of a frame's side information, in layer III."""
        return (17, 32)[self.channels - 1] if self.mpeg1 else (9, 17)[self.channels - 1]


class FrameHeader(NamedTuple):
    """The header of a frame: its kind, its size in bytes, and the bytes of its checksum (0 or 2)."""

    kind: FrameKind
    size: int
    checksum: int


@lru_cache(4096)
def read_header(head: bytes) -> FrameHeader | None:
    """Read the four bytes that a frame begins with; None if they are none, or of a free bit rate."""
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
    """Where the frames of an mp3 are, and how long it is. A few kilobytes for a song.

    Attributes:
        kind: Of its frames.
        num_frames: Frames with audio: without one that holds a Xing, Info or VBRI tag.
        places: Byte of the file where each 16th frame begins.
        spans: Bytes `(begin, end)` of frames that follow each other without anything between.
        delay: Samples at the front that the encoder has added.
        length: Samples per channel, without what the encoder has added.
        promised: Samples per channel that the tag says there are; None without a tag.
    """

    kind: FrameKind
    num_frames: int
    places: array[int] = field(repr=False, compare=False)
    spans: list[tuple[int, int]] = field(repr=False, compare=False)
    delay: int
    length: int
    promised: int | None

    def start(self, sample: int) -> tuple[int, int]:
        """Where to begin to decode for the samples from `sample` on: the number of a frame, and samples to drop.

        The frames before a sample that it depends on come first: one for the overlap of the transform, one for the
        filter bank, and those before them that hold the bit reservoir.
        """
        position = sample + self.delay
        last = max(position // self.kind.samples - 2, 0) // STRIDE
        entry = min(last, len(self.places) - 1)
        others = STRIDE * (6 + self.kind.side)  # bytes from a place to the next that are no part of the reservoir
        wanted = _RESERVOIR if self.kind.layer == 3 else 0
        while entry > 0 and self.places[last] - self.places[entry] - (last - entry) * others < wanted:
            entry -= 1
        return entry * STRIDE, position - entry * STRIDE * self.kind.samples


def index_mp3(file: BinaryIO, begin: int = 0, end: int | None = None) -> Mp3Index | None:
    """Walk over the frames of an mp3 (or MPEG audio of layer I or II) in the bytes `begin` to `end` of a file.

    Returns:
        None where there is no such audio within a megabyte behind the tags.
    """
    end = file.seek(0, io.SEEK_END) if end is None else end
    begin = behind_tags(file, begin, end)
    place = _next_frame(file, begin, min(begin + _SEARCHED, end), end, None)
    if place is None:
        return None
    file.seek(place)
    first = file.read(_LONGEST)
    header = read_header(first[:4])
    assert header is not None
    tag = _Tag.of(first[: header.size], header.kind)
    places, spans, num_frames = _walk(file, place if tag is None else place + header.size, end, header.kind)
    if not num_frames:
        return None
    raw = num_frames * header.kind.samples
    if tag is None:
        return Mp3Index(header.kind, num_frames, places, spans, 0, raw, None)
    delay = min(tag.delay, raw)
    promised = max(tag.frames * header.kind.samples - tag.delay - tag.padding, 0)
    length = promised if num_frames == tag.frames else raw - delay  # of a cut or joined file nothing is dropped behind
    return Mp3Index(header.kind, num_frames, places, spans, delay, length, promised if tag.frames else None)


class _Tag(NamedTuple):
    """What a first frame without audio says: frames (0: nothing), and samples that the encoder has added."""

    frames: int
    delay: int = 0
    padding: int = 0

    @classmethod
    def of(cls, frame: bytes, kind: FrameKind) -> _Tag | None:
        if kind.layer != 3:
            return None
        if frame[36:40] == b"VBRI":
            return cls(int.from_bytes(frame[50:54]))
        at = 4 + kind.side
        if frame[at : at + 4] not in (b"Xing", b"Info"):
            return None
        flags = int.from_bytes(frame[at + 4 : at + 8])
        frames = int.from_bytes(frame[at + 8 : at + 12]) if flags & 1 else 0
        lame = at + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        added = int.from_bytes(frame[lame + 21 : lame + 24])
        if frame[lame : lame + 4] not in _ENCODERS or len(frame) < lame + 24:
            return cls(frames)
        return cls(frames, (added >> 12) + _DECODER_DELAY, max((added & 0xFFF) - _DECODER_DELAY, 0))


def _walk(file: BinaryIO, place: int, end: int, kind: FrameKind) -> tuple[array[int], list[tuple[int, int]], int]:
    """Places, spans and the number of the frames from `place` to `end`; a last frame that is cut does not count."""
    places, spans, count, begin = array("q"), [], 0, place
    while True:
        file.seek(place)
        header = read_header(file.read(4))
        if header is not None and header.kind == kind and place + header.size <= end:
            if count % STRIDE == 0:
                places.append(place)
            count += 1
            place += header.size
            continue
        if place > begin:
            spans.append((begin, place))
        following = _next_frame(file, place, end, end, kind)
        if following is None:
            return places, spans, count
        place = begin = following


def behind_tags(file: BinaryIO, place: int, end: int) -> int:
    """The first byte behind ID3 tags."""
    while place < end:
        file.seek(place)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3" or max(tag[6:]) > 127:
            break
        footer = 10 if tag[5] & 0x10 else 0
        place += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]) + footer
    return place


def _next_frame(file: BinaryIO, place: int, until: int, end: int, kind: FrameKind | None) -> int | None:
    """The first byte from `place` up to `until` where frames begin: of a kind, or of any if it is None."""
    while place < until:
        file.seek(place)
        window = file.read(min(_WINDOW + 3 * _LONGEST + 4, end - place))
        at = window.find(b"\xff", 0, _WINDOW)
        while at >= 0:
            if _frames_begin(window, at, end - place, kind):
                return place + at if place + at < until else None
            at = window.find(b"\xff", at + 1, _WINDOW)
        place += _WINDOW
    return None


def _frames_begin(window: bytes, at: int, end: int, kind: FrameKind | None) -> bool:
    """Whether three frames of one kind begin at byte `at`, or as many as there are up to the end of the audio."""
    for _ in range(3):
        header = read_header(window[at : at + 4])
        if header is None or at + header.size > end or (kind is not None and header.kind != kind):
            return False
        kind, at = header.kind, at + header.size
        if at == end or window[at : at + 3] == b"TAG":
            return True
    return True


class Mp3Stream(io.RawIOBase):
    """The frames of an mp3 from one of them on, as a file that libmpg123 reads to its end, without a word.

    The decoder reads as far as it takes the audio to go on, which it works out from the file's size: so this file says
    that it is endless. And it talks on stderr about frames whose bit reservoir is missing, as it is at the front: these
    are silenced. (They serve to fill the reservoir; what they decode to is dropped, or could not be decoded anyway.)

    Args:
        file: Which the index belongs to.
        index: Of that file.
        first: Frame to begin with, a multiple of 16.
    """

    _SIZE = 2**40

    def __init__(self, file: BinaryIO, index: Mp3Index, first: int) -> None:
        self._file = file
        self._place = 0
        self._pieces: list[tuple[int, bytes | int]] = []  # end in this file; content, or its place in the other
        length = 0
        begin = index.places[first // STRIDE]
        for span_begin, span_end in index.spans:
            if span_end <= begin:
                continue
            span_begin = max(span_begin, begin)
            lead = _silenced(file, span_begin, span_end, index.kind)
            for size, content in ((len(lead), lead), (span_end - span_begin - len(lead), span_begin + len(lead))):
                length += size
                self._pieces.append((length, content))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._SIZE}[whence]
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted, begin = len(buffer), 0
        if self._place >= self._SIZE - 128:  # where the decoder looks for a tag: there is none
            buffer[:] = bytes(wanted)
            self._place += wanted
            return wanted
        done = 0
        for end, content in self._pieces:
            if self._place < end and done < wanted:
                size = min(end - self._place, wanted - done)
                at = self._place - begin
                if isinstance(content, bytes):
                    part = content[at : at + size]
                else:
                    self._file.seek(content + at)
                    part = self._file.read(size)
                buffer[done : done + len(part)] = part
                done += len(part)
                self._place += len(part)
            begin = end
        return done


def _silenced(file: BinaryIO, place: int, end: int, kind: FrameKind) -> bytes:
    """The first frames of a span, those silenced that refer to bytes before it, until none can any more."""
    frames, filled = bytearray(), 0
    while kind.layer == 3 and filled < _RESERVOIR and place < end:
        file.seek(place)
        frame = bytearray(file.read(_LONGEST))
        header = read_header(bytes(frame[:4]))
        if header is None:
            break
        frame, at = frame[: header.size], 4 + header.checksum
        reach = frame[at] << 1 | frame[at + 1] >> 7 if kind.mpeg1 else frame[at]
        if reach > filled:
            frame[at + 1 : at + kind.side] = bytes([frame[at + 1] & 0x80 if kind.mpeg1 else 0]) + bytes(kind.side - 2)
            if header.checksum:
                frame[4:6] = _checksum(bytes(frame[2:4] + frame[6 : 6 + kind.side]))
        filled += header.size - at - kind.side
        frames += frame
        place += header.size
    return bytes(frames)


def _checksum(content: bytes) -> bytes:
    """CRC-16 of a frame's protected bytes: the polynomial 0x8005, from ones on."""
    value = 0xFFFF
    for byte in content:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005 if value & 0x8000 else value << 1) & 0xFFFF
    return value.to_bytes(2)
