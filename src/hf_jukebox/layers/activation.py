"""The activation of the blocks, with its gradient."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

SLOPE = 1.702


class _QuickGELU(torch.autograd.Function):
    # silu(t) = t * sigmoid(t) is one operator, forth and back, and the gradient of silu(1.702 z) / 1.702 needs no
    # factor: left to autograd it would be scaled up and down again.

    @staticmethod
    def forward(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steep = z * SLOPE
        return F.silu(steep).mul_(1 / SLOPE), steep

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        _, steep = output
        ctx.mark_non_differentiable(steep)
        ctx.set_materialize_grads(False)  # else zeros are made as the gradient of `steep`
        ctx.save_for_backward(steep)

    @staticmethod
    @once_differentiable  # like the attention of a CPU
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> torch.Tensor | None:
        (steep,), of_y = ctx.saved_tensors, gradients[0]
        return None if of_y is None else torch.ops.aten.silu_backward(of_y, steep)


def quick_gelu(z: torch.Tensor) -> torch.Tensor:
    """`z * sigmoid(1.702 z)`, the sigmoid form of GELU (Hendrycks and Gimpel 2016)."""
    y: torch.Tensor = _QuickGELU.apply(z)[0]
    return y
