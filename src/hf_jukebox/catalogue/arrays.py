"""The files of a catalogue's arrays: written part by part, and mapped into memory."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Self

import numpy as np


class ArrayFile:
    """A one-dimensional array in a .npy file that is written part by part, without mapping it into memory.

    Attributes:
        done: Number of values written so far.
    """

    def __init__(self, path: Path, kind: type, length: int) -> None:
        self.kind, self.length, self.done = np.dtype(kind), length, 0
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.kind), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def write(self, values: np.ndarray) -> None:
        """Append values."""
        self._file.write(np.ascontiguousarray(values, self.kind).data)
        self.done += len(values)

    def fill(self, value: int) -> None:
        """Write one value up to the end of the array."""
        self.write(np.full(self.length - self.done, value, self.kind))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        assert error[0] is not None or self.done == self.length


def write_array(folder: Path, level: int, name: str, kind: type, values: np.ndarray) -> None:
    """Write one array of a level as a whole."""
    with ArrayFile(array_path(folder, level, name), kind, len(values)) as file:
        file.write(values)


def open_array(path: Path, kind: type) -> np.memmap:
    """Map a one-dimensional array of a type into memory.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is something else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged or cut short; build the catalogue again.") from error
    if not isinstance(array, np.memmap) or array.ndim != 1 or array.dtype != kind or len(array) == 0:
        raise ValueError(f"{path} does not belong to a catalogue; build the catalogue again.")
    if hasattr(mmap, "MADV_RANDOM"):
        array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # reading ahead would only fill memory
    return array


def release_pages(array: np.ndarray) -> None:
    """Release the pages of a mapped array from the memory of this process; the system's file cache keeps them."""
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def array_path(folder: Path, level: int, name: str) -> Path:
    """Return the path of one array of a level."""
    return folder / f"level_{level}.{name}.npy"
