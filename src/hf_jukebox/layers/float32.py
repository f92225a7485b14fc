"""float32 that is float32 on every device."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch

_backends: Any = torch.backends  # some have attributes at run time only

# Products, convolutions and recurrent layers on CUDA and, by oneDNN, on a CPU.
_OPERATIONS = (
    _backends.cuda.matmul,
    _backends.cudnn.conv,
    _backends.cudnn.rnn,
    _backends.mkldnn.matmul,
    _backends.mkldnn.conv,
    _backends.mkldnn.rnn,
)


@contextmanager
def _unrounded() -> Iterator[None]:
    """Turn rounding off in both of PyTorch's interfaces: the older refuses to be read where they disagree."""
    before = [operation.fp32_precision for operation in _OPERATIONS]
    _allow_no_rounding()
    older = torch.get_float32_matmul_precision(), _rounds_in_older_interface()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    _allow_no_rounding()  # again: the older interface resets operations to the precision of all
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(older[0])
        torch.backends.cudnn.allow_tf32 = older[1]
        for operation, precision in zip(_OPERATIONS, before, strict=True):
            operation.fp32_precision = "none"  # that of the backend, if it was
            if operation.fp32_precision != precision:
                operation.fp32_precision = precision


def _allow_no_rounding() -> None:
    for operation in _OPERATIONS:
        operation.fp32_precision = "ieee"


def _rounds_in_older_interface() -> bool:
    """Return `torch.backends.cudnn.allow_tf32` where the newer interface allows no rounding."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:  # the older interface disagrees
        return True


class _FullFloat32:
    """The settings, which are those of the process: the first thread that needs them makes them, the last restores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_users = 0
        self._restoration = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_users == 0:
                self._restoration.enter_context(_unrounded())
            self._num_users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._num_users -= 1
            if self._num_users == 0:
                self._restoration.close()


_SETTINGS = _FullFloat32()


def full_float32() -> AbstractContextManager[None]:
    """Compute float32 products and convolutions in float32, and not in TensorFloat-32 or bfloat16.

    This holds for operands in float32; `torch.autocast` would halve them first (see `without_autocast`).

    PyTorch rounds the operands of convolutions on CUDA to 10 bits by default, and those of products if
    `torch.set_float32_matmul_precision` or `torch.backends.fp32_precision` says so. Then 0.2 to 0.4 % of the codes of a
    recording are others. Meanwhile other threads compute in float32 as well.
    """
    return _SETTINGS


@contextmanager
def without_autocast(device_type: str) -> Iterator[None]:
    """Compute in the precision of the weights on the CPU and on a device, also if the caller enables `torch.autocast`.

    Training keeps autocast; encoding, decoding, sampling and scoring run without it, since it changes their results.
    """
    with ExitStack() as disabled:
        for kind in {"cpu", device_type}:
            if torch.amp.is_autocast_available(kind):  # not on the meta device
                disabled.enter_context(torch.autocast(kind, enabled=False))
        yield
