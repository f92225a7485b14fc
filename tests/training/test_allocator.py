"""Memory that is given back and taken again, in a process of its own."""

import os
import platform
import subprocess
import sys

TIMES, MEGABYTES = 20, 64
TAKE_OFTEN = f"""
import resource, torch
from hf_jukebox.training.allocator import keep_freed_memory
torch.set_num_threads(1)
keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({TIMES}):
    torch.ones({MEGABYTES} * 2**18)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 2**20)
"""


def megabytes_from_the_system(**environment: str) -> float:
    command = [sys.executable, "-c", TAKE_OFTEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    return float(done.stdout)


def test_freed_memory_is_taken_again_without_the_system() -> None:
    everything = TIMES * MEGABYTES
    assert megabytes_from_the_system() < (everything / 2 if platform.libc_ver()[0] == "glibc" else 2 * everything)


def test_what_the_environment_sets_stays() -> None:
    assert megabytes_from_the_system(MALLOC_MMAP_THRESHOLD_="65536") > 0.9 * TIMES * MEGABYTES
