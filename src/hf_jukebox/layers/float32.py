"""float32 that is float32 on every device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products and convolutions in float32, and not in TensorFloat-32 or bfloat16.

    PyTorch rounds the operands of convolutions on CUDA to 10 bits by default, and those of products if
    `torch.set_float32_matmul_precision` says so. Then 0.2 to 0.4 % of the codes of a recording are others. The settings
    are those of the process; use it from one thread at a time.
    """
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
