"""Out-of-memory errors, and control of how glibc treats freed memory on a CPU."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re

# The words of torch, its libraries and the system: on a CPU, CUDA, ROCm, XPU, Metal, and in mapped files.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|(not enough|insufficient) memory|(can't|cannot|could not|failed to|unable to) (re)?allocate"
    r"|_alloc_failed|bad_alloc|bad allocation|invalid buffer size|cudnn error: cudnn_status_not_supported",
    re.IGNORECASE,
)

_CAPTURE_FAILED = "operation failed due to a previous error during capture"

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on whatever device and in whatever words."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # safetensors has an error class of its own, which derives from Exception.
    if not isinstance(error, RuntimeError) and type(error).__name__ != "SafetensorError":
        return False
    if _CAPTURE_FAILED in str(error):  # the CUDA graph says so of any error while it was captured, such as this one
        return error.__context__ is not None and is_out_of_memory(error.__context__)
    return _OUT_OF_MEMORY.search(str(error)) is not None


def keep_freed_memory() -> None:
    """Keep freed memory in the process, for the tensors of the next training step.

    By default the C library returns large blocks to the OS, which hands them back page by page, zeroed. Settings from
    the environment are respected.
    """
    if not _is_glibc() or any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_THRESHOLD, 2**25):  # the limit of older versions
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Return freed memory to the OS, between the chunks of long work.

    Aligned blocks, such as tensors use, cannot be fully reused for blocks of the same size, so the heap would keep
    growing.
    """
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
