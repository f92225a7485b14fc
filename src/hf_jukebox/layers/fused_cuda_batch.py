"""The blocks of an upsampler for several songs on CUDA, as the one kernel of `batch_kernel`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._triton import has_triton

from .attention import Attention, AttentionKind, StepPosition
from .fast_paths import is_plain, step_linear
from .transformer import Transformer, TransformerBlock, step_linears

MAX_BATCH = 16
"""Rows that the kernel takes at most: a program holds all of them."""

_MIN_ROWS = 3  # the kernels of `fused_cuda` are faster with fewer
_KINDS = {AttentionKind.ROW, AttentionKind.COLUMN, AttentionKind.PREVIOUS_ROW}
_SHARED_MEMORY = 132_096  # bytes that a program takes for 16 rows
_ALIGNMENT = 16  # bytes


@dataclass(frozen=True)
class BatchSteps:
    """The blocks of a transformer over caches of its own.

    Attributes:
        table: Addresses and numbers of each block, `[blocks, NUM_FIELDS]`.
        kept: What the addresses point to.
        attentions: One of each kind, in the order of `ranges` of the kernel.
        mlp_width: Of the blocks.
        eps: Of the norms.
        scale: Of the residual.
        dtype: Of the blocks.
    """

    table: torch.Tensor
    kept: list[torch.Tensor]
    attentions: list[Attention]
    mlp_width: int
    eps: float
    scale: float
    dtype: torch.dtype

    def step(self, x: torch.Tensor, at: StepPosition, caches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them."""
        ranges = torch.cat([each for attention in self.attentions for each in _key_range(attention, at)])
        state = self.attentions[0].shape.state
        y = _step(x.to(self.dtype), self.table, ranges, state, self.mlp_width, self.eps, self.scale)
        return y.to(x.dtype)

    def linear(self, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """Apply a layer outside the blocks to `x` `[B, in]`."""
        return step_linear(layer, x)


def fuse_batch(transformer: Transformer, caches: Sequence[torch.Tensor]) -> BatchSteps | None:
    """Return the blocks of a transformer over these caches; None if the kernel cannot run them.

    Weights are shared. Neither they nor the caches may move.
    """
    device, rows = caches[0].device, caches[0].shape[1]
    if device.type != "cuda" or not _MIN_ROWS <= rows <= MAX_BATCH or not has_triton():
        return None
    layers = [layer for block in transformer.blocks for layer in step_linears(block)]
    can_be_fused = (
        transformer.dtype in (torch.float16, torch.bfloat16)
        and all(isinstance(layer, nn.Linear) and _can_be_read(layer.weight) for layer in layers)
        and _has_room(transformer, rows, device)
    )
    return read_batch_blocks(transformer, caches) if can_be_fused else None


@torch.no_grad()
def read_batch_blocks(transformer: Transformer, caches: Sequence[torch.Tensor]) -> BatchSteps:
    """Return the blocks of a transformer over these caches, as the kernel reads them."""
    blocks, shape = transformer.blocks, transformer.shape.attention
    kinds = list(dict.fromkeys(transformer.kinds))
    at = torch.arange(shape.positions, device="cpu")
    start = StepPosition.at(at[:1], at[None], shape)
    rows, kept = [], list[torch.Tensor]()
    for block, kind, cache in zip(blocks, transformer.kinds, caches, strict=True):
        tensors = [*_tensors(block), cache]
        numbers = [cache.shape[3], block.attn.key_range(start).length, kinds.index(kind)]
        rows.append([tensor.data_ptr() for tensor in tensors] + numbers)
        kept += tensors
    return BatchSteps(
        table=torch.tensor(rows, device=caches[0].device),
        kept=kept,
        attentions=[blocks[transformer.kinds.index(kind)].attn for kind in kinds],
        mlp_width=transformer.shape.mlp_width,
        eps=blocks[0].norm1.eps,
        scale=blocks[0].scale,
        dtype=transformer.dtype,
    )


def _can_be_read(weight: torch.Tensor) -> bool:
    return is_plain(weight) and weight.is_cuda and weight.is_contiguous() and weight.data_ptr() % _ALIGNMENT == 0


def _has_room(transformer: Transformer, rows: int, device: torch.device) -> bool:
    """Return whether each program of the kernel can hold what it computes with."""
    from .batch_kernel import INPUTS, MAX_KEYS, MAX_STATE, OUTPUTS, SPLITS

    shape, mlp_width = transformer.shape.attention, transformer.shape.mlp_width
    gpu: Any = torch.cuda.get_device_properties(device)
    programs = gpu.multi_processor_count
    return (
        (gpu.major, gpu.minor) >= (9, 0)
        and gpu.shared_memory_per_block_optin >= _SHARED_MEMORY
        and set(transformer.kinds) <= _KINDS
        and shape.heads == 1
        and shape.state <= MAX_STATE
        and max(shape.rows, shape.columns) <= MAX_KEYS
        and max(shape.width, mlp_width) <= INPUTS
        and max(3 * shape.state, shape.width, mlp_width) <= OUTPUTS * programs
        and SPLITS * rows <= programs
    )


def _tensors(block: TransformerBlock) -> list[torch.Tensor]:
    """Return what the kernel reads of a block, in the order of its table."""
    layers, norms = step_linears(block), (block.norm1, block.norm2)
    small = [layer.bias for layer in layers] + [each for norm in norms for each in (norm.weight, norm.bias)]
    return [layer.weight.detach() for layer in layers] + [each.detach().float().contiguous() for each in small]


def _key_range(attention: Attention, at: StepPosition) -> tuple[torch.Tensor, ...]:
    """Return the slot of this position, that of the first key, and the last key, `[1]` each."""
    keys, zero = attention.key_range(at), torch.zeros_like(at.position)
    assert keys.slot is not None
    first = zero if keys.first is None else keys.first
    return keys.slot, first, zero + keys.length if keys.last is None else keys.last


# The kernel writes to the caches, which are no arguments: it has their addresses, and nothing else in a step uses them.
@torch.library.custom_op("hf_jukebox::blocks_step", mutates_args=())
def _step(
    x: torch.Tensor, table: torch.Tensor, ranges: torch.Tensor, state: int, mlp_width: int, eps: float, scale: float
) -> torch.Tensor:
    import triton

    from .batch_kernel import NUM_PHASES, OUTPUTS, SPLITS, WARPS, blocks_step

    rows, width = x.shape[0], x.shape[2]
    stream = x.clone(memory_format=torch.contiguous_format)
    tensors = (
        stream,
        x.new_empty(rows, 3 * state),
        x.new_empty(SPLITS, rows, state),
        x.new_empty(SPLITS, rows, dtype=torch.float32),
        x.new_empty(rows, width),
        x.new_empty(rows, mlp_width),
        table,
        ranges,
        x.new_zeros(len(table), NUM_PHASES, dtype=torch.int32),
    )
    constants: dict[str, Any] = {
        "eps": eps,
        "res_scale": scale,
        "ROWS": rows,
        "PADDED_ROWS": triton.next_power_of_2(rows),
        "WIDTH": width,
        "STATE": state,
        "MLP_WIDTH": mlp_width,
        "IS_SCALED": scale != 1.0,
        "num_warps": WARPS,
        "num_stages": 1,
    }
    if x.is_cuda:
        programs = torch.cuda.get_device_properties(x.device).multi_processor_count
        constants |= {"PROGRAMS": programs, "PHASE": -1, "launch_cooperative_grid": True}
        blocks_step[(programs,)](*tensors, 0, len(table), **constants)
        return stream
    programs = max(SPLITS * rows, *(triton.cdiv(size, OUTPUTS) for size in (3 * state, width, mlp_width)))
    for block in range(len(table)):  # Triton's interpreter runs a program to its end before the next one
        for phase in range(NUM_PHASES):
            blocks_step[(programs,)](*tensors, block, block + 1, **constants, PROGRAMS=programs, PHASE=phase)
    return stream


@_step.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)
