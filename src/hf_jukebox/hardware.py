"""What the hardware does well: the instructions of the CPU, and the precision in which a device samples fast."""

from __future__ import annotations

import platform
import time

import torch

# Precision of a compiled step on a CPU, by its instructions and by whether it samples one song at a time or several:
# the fastest of those measured with benchmarks/decode.py (docs/performance.md), or float32 where bfloat16 gains less
# than a fifth, since the codes of float32 do not depend on how songs are grouped.
_MEASURED = {
    ("AVX2", True): torch.bfloat16,
    ("AVX2", False): torch.float32,
    ("AVX512 with bfloat16", True): torch.bfloat16,
    ("AVX512 with bfloat16", False): torch.bfloat16,
}

# Width of the probed product, and how much faster bfloat16 has to be for its codes to be worth having.
_PROBED_WIDTH = 1024
_WORTH_IT = 0.9


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


def fast_dtype(device: torch.device, *, is_compiled: bool, is_one_song: bool) -> torch.dtype:
    """Return the precision of the blocks in which sampling is fast on a device.

    On CUDA that is float16, the published one. On a CPU it is float32, unless the step is compiled: then what was
    measured on such a processor, or else bfloat16 if a short trial finds it faster. Other devices use float32.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type != "cpu" or not is_compiled:
        return torch.float32
    return _MEASURED.get((instruction_set(), is_one_song)) or _probe(1 if is_one_song else 16)


def _probe(rows: int) -> torch.dtype:
    """Time the product of a step in both precisions, for some hundredths of a second."""
    weights = torch.randn(8, _PROBED_WIDTH, _PROBED_WIDTH)
    x = torch.randn(rows, _PROBED_WIDTH)
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        operands = x.to(dtype), weights.to(dtype)
        taken[dtype] = min(_seconds(*operands) for _ in range(4))
    return torch.bfloat16 if taken[torch.bfloat16] < _WORTH_IT * taken[torch.float32] else torch.float32


def _seconds(x: torch.Tensor, weights: torch.Tensor) -> float:
    started = time.perf_counter()
    for weight in weights:
        torch.nn.functional.linear(x, weight)
    return time.perf_counter() - started
