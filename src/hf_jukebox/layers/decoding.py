"""How a decode step computes its linear layers and its attention when it is compiled.

A step has one row a song. Library kernels are made for many rows: on a CPU they reach a fraction of the speed at which
memory can be read, and each call keeps the compiler from fusing what lies around it. Written as products and sums, the
same formulas become plain loops that read the weights once, as they are stored (float32, half precision or int8).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def step_linear(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`layer(x)` for the one position of a step, `[B, ..., in] -> [B, ..., out]`."""
    one_row = x.shape[0] == 1 and x.device.type == "cpu" and x.dtype != torch.float64
    if not (torch.compiler.is_compiling() and one_row and isinstance(layer, nn.Linear) and _has_rows(layer.weight)):
        return layer(x)
    row = x.reshape(-1).float()
    weight: Any = layer.weight  # a tensor, or one of torchao's
    if _is_plain(weight):
        y = (row * weight.float()).sum(-1)
    else:  # int8: w = (q - zero) * scale, both a number a row
        of_row = (row * weight.qdata.float()).sum(-1)
        y = (of_row - weight.zero_point.float().reshape(-1) * row.sum()) * weight.scale.float().reshape(-1)
    if layer.bias is not None:
        y = y + layer.bias.float()
    return y.to(x.dtype).view(*x.shape[:-1], -1)


def step_attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Attention of one query `[B, heads, 1, d]` over `keys` and `values` `[B, heads, T, d]`; `mask` is `[1, T]`."""
    if not torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
    scores = (q.float() * keys.float()).sum(-1) * q.shape[-1] ** -0.5  # [B, heads, T]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return (scores.softmax(-1)[..., None] * values.float()).sum(2, keepdim=True).to(q.dtype)


def has_plain_weights(module: nn.Module) -> bool:
    """Whether no weight is quantised."""
    return all(_is_plain(weight) for weight in module.parameters())


def _is_plain(weight: Any) -> bool:
    return type(weight) in (torch.Tensor, nn.Parameter)


def _has_rows(weight: Any) -> bool:
    """Whether the weights lie row by row: plain, or torchao's weight-only int8 with a scale a row."""
    if _is_plain(weight):
        return True
    quantized = getattr(weight, "qdata", None)
    return bool(
        quantized is not None
        and quantized.dtype == torch.int8
        and getattr(weight, "act_quant_kwargs", None) is None
        and weight.scale.numel() == weight.zero_point.numel() == weight.shape[0]
    )
