"""What becomes of the memory that a step of training gives back, on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Have the C library keep what tensors give back, for those of the next step.

    glibc returns large pieces to the system, which gives them out again page by page, each cleared first. Settings
    from the environment stay as they are, and other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(("MALLOC_", "GLIBC_")) for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(_M_MMAP_THRESHOLD, 2**30) or mallopt(_M_MMAP_THRESHOLD, 2**25):  # older ones take no more
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
