"""The instructions of the CPU that PyTorch uses."""

from __future__ import annotations

import platform

import torch


def instruction_set() -> str:
    """Return the widest vector instructions that PyTorch uses on this CPU, such as "AVX2" or "AVX512 with bfloat16"."""
    name = torch.backends.cpu.get_cpu_capability()
    if name == "DEFAULT":
        name = platform.machine()
    return f"{name} with bfloat16" if has_bfloat16_products() else name


def vector_bits() -> int | None:
    """Return the length of the vectors of AVX2 or AVX-512, in bits; None on other processors."""
    return {"AVX2": 256, "AVX512": 512}.get(torch.backends.cpu.get_cpu_capability())


def has_bfloat16_products() -> bool:
    """Return True if the CPU multiplies and adds pairs of bfloat16 numbers in one instruction, and PyTorch uses it."""
    # PyTorch uses less than what the processor has where ATEN_CPU_CAPABILITY says so.
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and bool(torch.cpu._is_avx512_bf16_supported())
