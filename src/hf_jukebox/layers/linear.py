"""The linear layer of the blocks, with a faster way of computing it while a CPU trains in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


class Linear(nn.Linear):
    """`nn.Linear`; in training mode, in float32 on a CPU, its products are oneDNN's.

    PyTorch hands them to MKL otherwise, which uses a part of what processors other than Intel's can do. In evaluation
    it stays as it is, so that a model gives the same bits with and without gradients.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and _is_plain_float32(x) and _is_plain_float32(self.weight)):
            return super().forward(x)
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return super().forward(x)
        y: torch.Tensor = _Product.apply(x, self.weight, self.bias)
        return y


class _Product(torch.autograd.Function):
    """`x @ weight.T + bias`, the formula of `nn.Linear`."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return _onednn(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.shape[-1])
        # The gradient of the weights sums over all rows, for which MKL is the faster one.
        return (
            _Product.apply(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _is_plain_float32(tensor: torch.Tensor) -> bool:
    """Nothing that has rules of its own, such as quantized weights or those of an offloaded layer."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter)
    return plain and tensor.dtype == torch.float32 and tensor.device.type == "cpu" and _HAS_ONEDNN
