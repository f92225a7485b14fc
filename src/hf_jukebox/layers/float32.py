"""float32 that is float32 on every device."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch


class _FullFloat32:
    """The settings, which are those of the process: the first thread that needs them makes them, the last restores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_users = 0
        self._restoration = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_users == 0:
                self._restoration.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
                torch.set_float32_matmul_precision("highest")
                self._restoration.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
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
    `torch.set_float32_matmul_precision` says so. Then 0.2 to 0.4 % of the codes of a recording are others. Meanwhile
    other threads compute in float32 as well.
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
