"""Reading of `torch.save` files in bounded memory, without running code."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

_SPARE_BYTES = 2**20


def read_torch_file(path: Path, safe: Sequence[Any] = ()) -> Any:
    """Read a file of `torch.save`, in either of its formats, onto the CPU.

    Args:
        safe: Classes allowed besides tensors and plain values; see `torch.serialization.safe_globals`.

    Raises:
        OSError: the file is missing, is not a regular file or cannot be read.
        ValueError: the file is damaged, was not written by `torch.save`, needs code to be rebuilt, or holds tensors
            that are larger than itself.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    with path.open("rb"):
        pass  # every later error is due to the content
    size = path.stat().st_size
    try:
        _check_archive(path, size)
        with torch.serialization.safe_globals(list(safe)):
            content = torch.load(path, map_location="cpu", weights_only=True)
        _check_tensors(content, size)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
            raise ValueError(
                f"{path} holds a Python object of type {found[1][:80]}, which only code in the file could rebuild; "
                "save it again with only weights and plain settings."
            ) from error
        raise ValueError(f"{path} is not a torch checkpoint, or is damaged; download it again.") from error
    except _RefusedError as error:
        raise ValueError(f"{path} is not a torch checkpoint, or is damaged ({error}); download it again.") from error
    except Exception as error:  # a damaged file can make the unpickler raise anything
        raise ValueError(f"{path} is not a torch checkpoint, or is damaged; download it again.") from error
    return content


class _RefusedError(ValueError):
    """Error for content that is refused, with the reason."""


def _check_archive(path: Path, size: int) -> None:
    """Refuse an archive that unpacks to more than its size: torch saves without compression."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        held = sum(entry.file_size for entry in archive.infolist())
    if held > size:
        raise _RefusedError(f"it takes {size} bytes, but would unpack to {held}")


def _check_tensors(content: Any, size: int) -> None:
    """Refuse tensors that are larger than the file, such as views that repeat a few bytes."""
    held = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
    if held > 4 * size + _SPARE_BYTES:  # tied parameters are counted more than once
        raise _RefusedError(f"its tensors would take {held} bytes, but the file has {size}")


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors in nested dicts, lists and tuples, each container once."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.is_meta:
                raise _RefusedError("it holds a tensor that is sparse or has no values")
            yield value
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
