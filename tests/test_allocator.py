"""Memory that is given back and taken again, each time in a process of its own."""

import os
import platform
import subprocess
import sys

TIMES, MEGABYTES = 20, 64
TAKE_OFTEN = f"""
import resource, torch
from hf_jukebox.allocator import keep_freed_memory
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


# The last piece keeps what lies before it from being returned without being asked for.
GIVE_BACK = """
import torch
from hf_jukebox.allocator import return_freed_memory
from peak import resident_bytes
pieces = [torch.ones(2**14) for _ in range(4000)]
del pieces[:-1]
before = resident_bytes()
return_freed_memory()
print((before - resident_bytes()) / 2**20)
"""


def test_freed_memory_goes_back_to_the_system() -> None:
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", GIVE_BACK], capture_output=True, text=True, check=True, env=environment
    )
    assert float(done.stdout) > (200 if platform.libc_ver()[0] == "glibc" else -1)  # of 250 MiB
