"""The precision in which a device samples fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from ..hardware import instruction_set
from ..layers.attention import AttentionShape, StepPosition
from ..layers.fused_cpu import fuse
from ..layers.transformer import Transformer, TransformerShape

# Precision of a compiled step on a CPU, by its instructions and by whether it samples one song at a time or several:
# the fastest of those measured with benchmarks/decode.py (docs/measurements.md), or float32 where bfloat16 gains less
# than a fifth.
_MEASURED = {
    ("AVX2", True): torch.bfloat16,
    ("AVX2", False): torch.float32,
    ("AVX512 with bfloat16", True): torch.bfloat16,
    ("AVX512 with bfloat16", False): torch.bfloat16,
}

# The blocks whose step is timed, and how much faster bfloat16 has to be for its codes to be worth having.
_PROBED_WIDTH = 1024
_PROBED_DEPTH = 4
_WORTH_IT = 0.8


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


@torch.inference_mode()
def _probe(rows: int) -> torch.dtype:
    """Time a step of some blocks in both precisions; float32 if their kernels cannot be compiled."""
    with torch.device("cpu"):
        return _faster_dtype(rows)


def _faster_dtype(rows: int) -> torch.dtype:
    shape = AttentionShape(width=_PROBED_WIDTH, state=_PROBED_WIDTH // 4, heads=1, rows=4, positions=64)
    blocks = Transformer(TransformerShape(shape, _PROBED_DEPTH, order=2, mlp_width=_PROBED_WIDTH))
    at = StepPosition.at(torch.zeros(1, dtype=torch.long), torch.arange(shape.positions)[None], shape)
    x = torch.randn(rows, 1, _PROBED_WIDTH, dtype=torch.float32)
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        fused, caches = fuse(blocks.to(dtype), rows), blocks.init_caches(rows, x.device)
        if fused is None:
            return torch.float32
        taken[dtype] = min(_seconds(partial(fused.step, x, at, caches)) for _ in range(5))
    return torch.bfloat16 if taken[torch.bfloat16] < _WORTH_IT * taken[torch.float32] else torch.float32


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
