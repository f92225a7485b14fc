"""Faster ways to compute what the layers compute; with their plain formulas instead, only the speed would change.

- `Linear` and `quick_gelu` speed up training on a CPU: oneDNN's products, and an activation whose gradient is one
  operator.
- `step_linear` and `step_attention` speed up a compiled decode step whose blocks are not run by kernels written by
  hand (`fused_cpu.py`, `fused_cuda.py`). A step has one row per song. Library kernels are made for many rows: they
  reach a fraction of the memory bandwidth, and each call keeps the compiler from fusing its surroundings. Written as
  products and sums, the same formulas become plain loops, or Triton kernels, that read the weights once, as they are
  stored (float32, half precision or int8).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

# Training on a CPU -------------------------------------------------------------------------------------------------

_HAS_ONEDNN = torch.backends.mkldnn.is_available()
GELU_SLOPE = 1.702


class Linear(nn.Linear):
    """`nn.Linear`; in training mode, in float32 on a CPU, oneDNN computes its products.

    Otherwise PyTorch calls MKL, which is slow on CPUs other than Intel's. In evaluation mode nothing changes, so that a
    model gives the same bits with and without gradients.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and _uses_onednn(x) and _uses_onednn(self.weight)):
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
        # The weight gradient sums over all rows, which MKL does faster.
        return (
            _Product.apply(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _uses_onednn(tensor: torch.Tensor) -> bool:
    return is_plain(tensor) and tensor.dtype == torch.float32 and tensor.device.type == "cpu" and _HAS_ONEDNN


class _QuickGELU(torch.autograd.Function):
    # silu(t) = t * sigmoid(t) is one operator in forward and backward, and the gradient of silu(1.702 z) / 1.702 needs
    # no factor: autograd would scale it up and down again.

    @staticmethod
    def forward(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scaled = z * GELU_SLOPE
        return F.silu(scaled).mul_(1 / GELU_SLOPE), scaled

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        _, scaled = output
        ctx.mark_non_differentiable(scaled)
        ctx.set_materialize_grads(False)  # otherwise autograd allocates zeros as the gradient of `scaled`
        ctx.save_for_backward(scaled)

    @staticmethod
    @once_differentiable  # like the attention of a CPU
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> torch.Tensor | None:
        (scaled,), grad_output = ctx.saved_tensors, gradients[0]
        return None if grad_output is None else torch.ops.aten.silu_backward(grad_output, scaled)


def quick_gelu(z: torch.Tensor) -> torch.Tensor:
    """Return `z * sigmoid(1.702 z)`, the sigmoid form of GELU (Hendrycks and Gimpel 2016)."""
    if torch.compiler.is_compiling():  # PyTorch 2.11 traces the operator in place to a gradient of zero
        return F.silu(z * GELU_SLOPE) * (1 / GELU_SLOPE)
    y: torch.Tensor = _QuickGELU.apply(z)[0]
    return y


def pass_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, is_causal: bool = False) -> torch.Tensor:
    """Attend over a whole pass, `[B, heads, T, head_dim]`.

    Where gradients are needed in bfloat16 on a CPU it computes in float32, since PyTorch's gradient of a bfloat16
    attention takes twice the time there.
    """
    is_slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if not is_slow:
        return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    with torch.autocast("cpu", enabled=False):
        attended = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=is_causal)
    return attended.to(q.dtype)


# A compiled decode step --------------------------------------------------------------------------------------------


def step_linear(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return `layer(x)` for the one position of a step, `[B, ..., in] -> [B, ..., out]`."""
    is_loop = (
        torch.compiler.is_compiling()
        and x.shape[0] == 1
        and x.device.type in ("cuda", "cpu")
        and x.dtype != torch.float64
        and isinstance(layer, nn.Linear)
        and _has_rows(layer.weight)
    )
    if not is_loop:
        return layer(x)
    row = x.reshape(-1).float()
    weight: Any = layer.weight  # a tensor, or one of torchao's
    y = (row * weight.float()).sum(-1) if is_plain(weight) else int8_products(row, weight, in_one_pass=row.is_cuda)
    bias: torch.Tensor | None = getattr(layer, "bias", None)
    if bias is not None:
        y = y + bias.float()
    return y.to(x.dtype).view(*x.shape[:-1], -1)


def int8_products(row: torch.Tensor, weight: Any, in_one_pass: bool) -> torch.Tensor:
    """Return `w @ row`, `[out]`, where `w = (q - zero) * scale`, both per row of `w`.

    Args:
        in_one_pass: Subtract `zero` from each weight: on CUDA, where the sum of `row` would be a kernel of its own.
    """
    quantized, (zero, scale) = weight.qdata.float(), (each.float() for each in (weight.zero_point, weight.scale))
    if in_one_pass:
        products = (row * (quantized - zero.reshape(-1, 1))).sum(-1)
    else:
        products = (row * quantized).sum(-1) - zero.reshape(-1) * row.sum()
    return products * scale.reshape(-1)


def step_attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attend from one query `[B, heads, 1, d]` to `keys` and `values` `[B, heads, T, d]`; `mask` is `[1, T]`."""
    if not torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
    scores = (q.float() * keys.float()).sum(-1) * q.shape[-1] ** -0.5  # [B, heads, T]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1)[..., None] * values.float()).sum(2, keepdim=True).to(q.dtype)


def is_plain(tensor: Any) -> bool:
    """Exclude tensors with rules of their own, such as quantised weights or those of an offloaded layer."""
    return type(tensor) in (torch.Tensor, nn.Parameter)


def _has_rows(weight: Any) -> bool:
    """Return True for weights stored row by row: plain, or `is_int8_by_row`."""
    return is_plain(weight) or is_int8_by_row(weight)


def can_be_read(weight: Any) -> bool:
    """Return True for weights that the kernels written by hand read: plain, or int8 by row without zero points."""
    return is_plain(weight) or (is_int8_by_row(weight) and not bool(weight.zero_point.any()))


def is_int8_by_row(weight: Any) -> bool:
    """Return True for torchao's weight-only int8 with one scale per row."""
    quantized = getattr(weight, "qdata", None)
    return bool(
        quantized is not None
        and quantized.dtype == torch.int8
        and getattr(weight, "act_quant_kwargs", None) is None
        and weight.scale.numel() == weight.zero_point.numel() == weight.shape[0]
    )
