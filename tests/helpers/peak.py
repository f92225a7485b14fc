"""Current and peak memory of this process, and a limit for it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def resident_bytes() -> int:
    return _status("VmRSS")


def peak_bytes() -> int:
    return _status("VmHWM")  # getrusage would also count the parent process


def limit_memory() -> None:
    """Bound the address space to 2 GiB beyond what it takes now, so that a larger allocation fails at once."""
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 2 * 2**30, most))


@contextmanager
def little_memory() -> Iterator[None]:
    """Limit the memory as `limit_memory` does, until the end of the block."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
