"""Out-of-memory errors in all words, and freed memory, kept for reuse or returned to the OS."""

import errno
import os
import platform
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError

from hf_jukebox.allocator import is_out_of_memory

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


def test_freed_memory_is_reused_without_the_system() -> None:
    everything = TIMES * MEGABYTES
    assert megabytes_from_the_system() < (everything / 2 if platform.libc_ver()[0] == "glibc" else 2 * everything)


def test_settings_of_the_environment_are_kept() -> None:
    assert megabytes_from_the_system(MALLOC_MMAP_THRESHOLD_="65536") > 0.9 * TIMES * MEGABYTES


# The last block prevents glibc from returning the blocks below it by itself.
GIVE_BACK = """
import torch
from hf_jukebox.allocator import return_freed_memory
from helpers.peak import resident_bytes
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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 8.00 PiB for an array"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 23.69 GiB total capacity)"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("XPU out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 6.80 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 80000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried ..."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("bad allocation"),
        RuntimeError("unable to mmap 1024 bytes from file <x>: Cannot allocate memory (12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        SafetensorError("Error while serializing: I/O error: Cannot allocate memory (os error 12)"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_a_lack_of_memory_is_recognised_in_all_its_words(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        ValueError("out of memory lane is no known song"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
        SafetensorError("Error while deserializing header: invalid header"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_other_errors_are_no_lack_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_what_torch_says_of_too_large_a_tensor_is_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.zeros(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(("cause", "is_memory"), [("CUDA out of memory.", True), ("a kernel that waits", False)])
def test_what_fails_in_a_capture_is_judged_by_its_cause(cause: str, is_memory: bool) -> None:
    with pytest.raises(RuntimeError) as raised:  # noqa: PT012
        try:
            raise RuntimeError(cause)
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    assert is_out_of_memory(raised.value) is is_memory
