"""Weight files of other implementations, of which a few tensors are read without memory for the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch._subclasses.fake_tensor import FakeTensorMode

from ..files.text import first_line
from .openai_files import read_torch_file, tensors_of

_SMALL = 2**26  # bytes; smaller files are read whole, which is faster
_ENCRYPTED = 1  # flag of a record
_DAMAGED = (SafetensorError, BadZipFile, EOFError, NotImplementedError)

Tensors = dict[str, torch.Tensor]


class TensorFile:
    """A file of safetensors or of `torch.save`, read without running any code in it.

    Large files of the format that `torch.save` had before torch 1.6 are read whole for every call of `read`.

    Attributes:
        shapes: Shape of each tensor by its name.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or is not a file of tensors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._indexed: Tensors | None = None  # without values, of an archive
        if path.suffix == ".safetensors":
            with path.open("rb"):
                pass  # every later error is due to the content
            try:
                with safe_open(path, framework="pt") as file:
                    self.shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            except SafetensorError as error:
                raise self._damaged(error) from error
            return
        if path.is_file() and path.stat().st_size > _SMALL and is_zipfile(path):
            with FakeTensorMode():  # reads no storage
                tensors = self._indexed = tensors_of(read_torch_file(path), path)
        else:
            tensors = self._read_whole()
        self.shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}

    def read(self, names: Collection[str]) -> Tensors:
        """Read the named tensors, each into memory of its own.

        Raises:
            OSError, ValueError: see the class.
        """
        try:
            if self._path.suffix == ".safetensors":
                with safe_open(self._path, framework="pt", backend="pread") as file:  # mapped memory cannot be freed
                    return {name: file.get_tensor(name) for name in names}
            if self._indexed is not None:
                with ZipFile(self._path) as archive:
                    records = sorted(archive.infolist(), key=_start)
                    return {name: _read_record(archive, records, self._indexed[name]) for name in names}
            tensors = self._read_whole()
            return {name: tensors[name] for name in names}
        except _DAMAGED as error:
            raise self._damaged(error) from error

    def _read_whole(self) -> Tensors:
        return tensors_of(read_torch_file(self._path), self._path)

    def _damaged(self, error: BaseException) -> ValueError:
        return ValueError(f"{self._path} is damaged or cut short ({error}); download it again.")


def _read_record(archive: ZipFile, records: list[ZipInfo], tensor: torch.Tensor) -> torch.Tensor:
    """Read the storage of a tensor without values from an archive; the sum of its bytes is checked.

    Args:
        records: Records of the archive in their order.
    """
    storage: Any = tensor.untyped_storage()
    # The offset is that of the values, which follow the header of their record.
    record = records[bisect_left(records, storage._checkpoint_offset, key=_start) - 1]
    if record.file_size != storage.nbytes():
        raise BadZipFile(f"a storage of {record.file_size} bytes should have {storage.nbytes()}")
    values = torch.empty(record.file_size, dtype=torch.uint8)
    if record.compress_type != ZIP_STORED or record.flag_bits & _ENCRYPTED:
        raise BadZipFile("torch.save neither compresses nor encrypts")
    with archive.open(record) as stream:
        file: Any = stream
        left = memoryview(values.numpy().data)
        while left:
            count = file.readinto(left)
            if not count:
                raise EOFError("a storage ends early")
            left = left[count:]
    empty = torch.empty(0, dtype=tensor.dtype)
    try:
        return empty.set_(values.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
    except RuntimeError as error:  # a tensor beyond the end of its storage
        raise BadZipFile(first_line(error)) from error


def _start(record: ZipInfo) -> int:
    return record.header_offset
