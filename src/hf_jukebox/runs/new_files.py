"""Files written beside those of the same name: nothing that is there already is replaced."""

from __future__ import annotations

import filecmp
import os
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from ..files.atomic import replacing

_OGG_SERIAL = re.compile(rb"(OggS.{10}).{4}(.{4}).{4}", re.DOTALL)  # random, and a checksum that depends on it


class _SameFileError(Exception):
    """Signal that a file with the content to write is there already."""

    def __init__(self, path: Path) -> None:
        self.path = path


def write_beside(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file and return its path: `path`, or `name-2` and so on if that is another file.

    A file that has the same content already is used as it is.

    Raises:
        OSError: the file cannot be written.
    """
    taken = []
    for target in numbered(path):
        if not os.path.lexists(target):
            break
        taken.append(target)
    try:
        with replacing(target) as unfinished:
            write(unfinished)
            for other in taken:
                if is_same(other, unfinished):
                    raise _SameFileError(other)
    except _SameFileError as same:
        return same.path
    return target


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, and then the same with `-2`, `-3` and so on before its suffix."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def is_same(path: Path, other: Path) -> bool:
    """Return whether two files have the same content; the random serial numbers of Ogg files do not count."""
    if not path.is_file():
        return False
    if filecmp.cmp(path, other, shallow=False):
        return True
    if path.suffix not in (".ogg", ".opus") or path.stat().st_size != other.stat().st_size:
        return False
    return _OGG_SERIAL.sub(rb"\1\2", path.read_bytes()) == _OGG_SERIAL.sub(rb"\1\2", other.read_bytes())
