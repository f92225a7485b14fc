"""Ogg files that hold one stream behind the other, of which libsndfile reads the first alone."""

from __future__ import annotations

import io
from typing import BinaryIO

_MARK = b"OggS"
_TAIL = 2**17  # bytes: twice the longest page


def is_chained(file: BinaryIO) -> bool:
    """Whether the last page of an ogg file is of a stream that does not begin with the file."""
    begun, place = set(), 0
    while True:
        file.seek(place)
        page = file.read(27 + 255)
        if page[:4] != _MARK or len(page) < 27 or not page[5] & 2:  # 2: the first page of a stream
            break
        begun.add(page[14:18])
        count = page[26]
        place += 27 + count + sum(page[27 : 27 + count])
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    tail = file.read()
    last = tail.rfind(_MARK)
    return bool(begun) and 0 <= last <= len(tail) - 18 and tail[last + 14 : last + 18] not in begun
