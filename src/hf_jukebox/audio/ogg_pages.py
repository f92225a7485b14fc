"""Detection of chained ogg files: several streams in a row, of which libsndfile reads only the first."""

from __future__ import annotations

import io
from typing import BinaryIO

_SIGNATURE = b"OggS"
_FIRST_PAGE = 2  # flag of the first page of a stream
_TAIL = 2**17  # bytes: twice the longest page


def is_chained(file: BinaryIO) -> bool:
    """Return whether the last page of an ogg file belongs to a stream that does not begin at the start of the file."""
    first_serials, position = set(), 0
    while True:
        file.seek(position)
        page = file.read(27 + 255)
        if page[:4] != _SIGNATURE or len(page) < 27 or not page[5] & _FIRST_PAGE:
            break
        first_serials.add(page[14:18])
        num_segments = page[26]
        position += 27 + num_segments + sum(page[27 : 27 + num_segments])
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    tail = file.read()
    last = tail.rfind(_SIGNATURE)
    return bool(first_serials) and 0 <= last <= len(tail) - 18 and tail[last + 14 : last + 18] not in first_serials
