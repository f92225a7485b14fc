"""Data of our own in wav and flac files, in places that the formats keep for programs and players skip.

A wav file has it in a RIFF chunk, since comments of more than about 1 kB are dropped there; a flac file in APPLICATION
metadata blocks (RFC 9639, section 8.4).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from .riff import iter_chunks

WITH_BLOCKS = (".wav", ".flac")

_CHUNK, _APPLICATION = b"hfjb", b"hfjb"
_FLAC, _APPLICATION_TYPE, _LAST = b"fLaC", 2, 0x80
_MOST_IN_FLAC_BLOCK = 2**24 - 1 - len(_APPLICATION)
_MOST_BLOCKS = 4096
_MOST_BYTES = 2**28  # of data from a file that may come from anybody


def add_data(path: Path, data: bytes) -> None:
    """Add data to a wav or flac file that has none yet.

    Raises:
        ValueError: it is another kind of file, or the data does not fit into it.
    """
    with path.open("r+b") as file:
        head = file.read(4)
        if head == b"RIFF":
            _add_chunk(file, data)
        elif head == _FLAC:
            _add_flac_blocks(file, data)
        else:
            raise ValueError(f"{path} is neither a wav nor a flac file; only these can hold data.")


def read_data(path: Path) -> bytes | None:
    """Return the data of a wav or flac file, which may come from an untrusted source; None if it has none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than any that this library writes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[:4] == b"RIFF" and head[8:] == b"WAVE":
                return _read_chunk(file, path)
            return _read_flac_blocks(file, path) if head[:4] == _FLAC else None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error


def _add_chunk(file: BinaryIO, data: bytes) -> None:
    end = file.seek(0, io.SEEK_END)
    chunk = _CHUNK + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2)
    size = end + end % 2 + len(chunk) - 8
    if size >= 2**32:
        raise ValueError("The wav file would be larger than 4 GB; write a flac file instead.")
    file.write(b"\0" * (end % 2) + chunk)
    file.seek(4)
    file.write(size.to_bytes(4, "little"))


def _read_chunk(file: BinaryIO, path: Path) -> bytes | None:
    size = file.seek(0, io.SEEK_END)
    for name, begin, length in iter_chunks(file, 12, size):
        if name == _CHUNK and begin + length <= size:
            _check_size(length, path)
            file.seek(begin)
            return file.read(length)
    return None


def _add_flac_blocks(file: BinaryIO, data: bytes) -> None:
    """Insert blocks after the first one, STREAMINFO; offsets in a flac file count from the first audio frame."""
    head = file.read(4)
    first = head + file.read(int.from_bytes(head[1:], "big"))
    rest = file.read()
    is_last = bool(first[0] & _LAST)
    parts = [data[start : start + _MOST_IN_FLAC_BLOCK] for start in range(0, len(data), _MOST_IN_FLAC_BLOCK)] or [b""]
    file.seek(4)
    file.write(bytes([first[0] & ~_LAST]) + first[1:])
    for number, part in enumerate(parts):
        kind = _APPLICATION_TYPE | (_LAST if is_last and number == len(parts) - 1 else 0)
        file.write(bytes([kind]) + (len(_APPLICATION) + len(part)).to_bytes(3, "big") + _APPLICATION + part)
    file.write(rest)


def _read_flac_blocks(file: BinaryIO, path: Path) -> bytes | None:
    file.seek(4)
    found = bytearray()
    is_found = False
    for _ in range(_MOST_BLOCKS):
        head = file.read(4)
        length = int.from_bytes(head[1:], "big")
        if len(head) < 4:
            break
        if head[0] & 0x7F == _APPLICATION_TYPE and length >= 4 and file.read(4) == _APPLICATION:
            is_found = True
            found += file.read(length - 4)
            _check_size(len(found), path)
        else:
            file.seek(length - (4 if head[0] & 0x7F == _APPLICATION_TYPE and length >= 4 else 0), io.SEEK_CUR)
        if head[0] & _LAST:
            break
    return bytes(found) if is_found else None


def _check_size(length: int, path: Path) -> None:
    if length > _MOST_BYTES:
        raise ValueError(f"{path} holds more than {_MOST_BYTES >> 20} MB of data, which no song has; use a copy of it.")
