"""The blocks of a compiled decode step on CUDA as kernels written by hand.

The compiler generates ten or more per block, and each of those waits for the one before it. For a few songs a block is
five launches of `step_kernels`, and one operator, which the compiler leaves as it is; for more songs, of an upsampler,
all blocks are one launch (`fused_cuda_batch.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._triton import has_triton

from .attention import Attention, KeyRange, StepPosition
from .fast_paths import can_be_read, is_plain, step_linear
from .fused_cuda_batch import fuse_batch
from .transformer import FusedSteps, LayerNorm, Transformer, TransformerBlock, step_linears

_MAX_ROWS = 4  # the kernels multiply them one after the other

# Sizes of the kernels' programs, chosen by measurements on an H200 (docs/measurements.md).
_SHORT = 2048  # inputs of a layer whose weights a program reads at once, and keeps in registers for all rows
_LONG_BLOCK = 1024  # inputs that a program reads at a time where there are more
_WEIGHTS_PER_PROGRAM = 8192
_JOINED_WEIGHTS_PER_PROGRAM = 4096  # after an attention, whose parts every program joins
_WARPS = 4
_NUM_STAGES = 3
_KEYS_PER_PROGRAM = 8192  # numbers of keys, and as many of values
_MAX_PARTS = 8  # of the attention of a row: heads times parts of their keys
_MAX_STAGED = 8192  # numbers of an attention's parts, so that several rows of them fit into shared memory
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class FusedBlock:
    """Weights of a block as the kernels read them.

    Attributes:
        weights, biases: Of the projection, the output of the attention and the two layers of the MLP.
        scales: Of int8 weights; empty for others.
        norms: Weight of the norm before the projection, the weights of the projection times it; and those of the MLP.
        heads: Of the attention.
        eps: Of the norms.
        scale: Of the residual.
    """

    weights: list[torch.Tensor]
    scales: list[torch.Tensor]
    biases: list[torch.Tensor]
    norms: list[torch.Tensor]
    heads: int
    eps: float
    scale: float

    def step(self, x: torch.Tensor, cache: torch.Tensor, keys: KeyRange) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the `cache`, and append it."""
        return _step(
            x,
            cache,
            self.weights,
            self.scales,
            self.biases,
            self.norms,
            keys.slot,
            keys.first,
            keys.last,
            keys.length,
            self.heads,
            self.eps,
            self.scale,
        )


@dataclass(frozen=True)
class CudaSteps:
    """The blocks of a transformer, and the attention of each."""

    blocks: list[FusedBlock]
    attentions: list[Attention]
    dtype: torch.dtype

    def step(self, x: torch.Tensor, at: StepPosition, caches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them."""
        dtype = x.dtype
        x = x.to(self.dtype)
        for block, attention, cache in zip(self.blocks, self.attentions, caches, strict=True):
            x = block.step(x, cache, attention.key_range(at))
        return x.to(dtype)

    def linear(self, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """Apply a layer outside the blocks to `x` `[B, in]`."""
        return step_linear(layer, x)


def fuse(transformer: Transformer, caches: Sequence[torch.Tensor]) -> FusedSteps | None:
    """Return the blocks of a transformer over these caches; None if the kernels cannot run them.

    Weights are shared, norms are folded. Neither weights nor caches may move.
    """
    batch = fuse_batch(transformer, caches)
    if batch is not None:
        return batch
    batch_size = caches[0].shape[1]
    layers = [layer for block in transformer.blocks for layer in step_linears(block)]
    can_be_fused = (
        batch_size <= _MAX_ROWS
        and transformer.dtype in _DTYPES
        and all(_can_be_read(layer) for layer in layers)
        and len({is_plain(layer.weight) for layer in layers}) == 1
        and (batch_size == 1 or all(layer.in_features <= _SHORT for layer in layers))
        and has_triton()
    )
    return read_blocks(transformer) if can_be_fused else None


def read_blocks(transformer: Transformer) -> CudaSteps:
    """Return the blocks of a transformer as the kernels read them."""
    attentions = [block.attn for block in transformer.blocks]
    return CudaSteps([_fuse_block(block) for block in transformer.blocks], attentions, transformer.dtype)


def _can_be_read(layer: nn.Module) -> bool:
    """Return True for a layer on CUDA whose weights the kernels read; others are adapters, for example."""
    return isinstance(layer, nn.Linear) and layer.weight.device.type == "cuda" and can_be_read(layer.weight)


@torch.no_grad()
def _fuse_block(block: TransformerBlock) -> FusedBlock:
    layers = step_linears(block)
    weights: list[Any] = [layer.weight for layer in layers]
    is_int8 = not is_plain(weights[0])
    biases: list[torch.Tensor] = [layer.bias.detach() for layer in layers]
    norms: list[torch.Tensor] = []
    for index, norm in ((0, block.norm1), (2, block.norm2)):
        gamma, weight_gamma, biases[index] = _fold(norm, layers[index])
        norms += [gamma, weight_gamma]
    return FusedBlock(
        weights=[weight.qdata if is_int8 else weight.detach() for weight in weights],
        scales=[weight.scale for weight in weights] if is_int8 else [],
        biases=biases,
        norms=norms,
        heads=block.attn.shape.heads,
        eps=block.norm1.eps,
        scale=block.scale,
    )


def _fold(norm: LayerNorm, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return `gamma`, `W gamma` and `W beta + b` of a norm and the layer after it, in float32."""
    stored: Any = layer.weight
    weight = (stored if is_plain(stored) else stored.dequantize()).float()
    gamma = norm.weight.detach().float()
    return gamma, weight @ gamma, weight @ norm.bias.float() + layer.bias.float()


@torch.library.custom_op("hf_jukebox::fused_block_step", mutates_args=("cache",))
def _step(
    x: torch.Tensor,
    cache: torch.Tensor,
    weights: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    norms: Sequence[torch.Tensor],
    slot: torch.Tensor | None,
    first: torch.Tensor | None,
    last: torch.Tensor | None,
    num_keys: int,
    heads: int,
    eps: float,
    scale: float,
) -> torch.Tensor:
    x = x.contiguous()
    layers = [_Layer(weight, scales[index] if scales else None, biases[index]) for index, weight in enumerate(weights)]
    head_dim = weights[1].shape[1] // heads
    projection = layers[0].apply(x, norm=norms[:2], eps=eps, cache=cache, slot=slot, head_dim=head_dim)
    attended, maxima, sums = _attend(projection, cache, first, last, num_keys, heads, head_dim, slot)
    hidden = layers[1].apply(attended, parts=(maxima, sums), residual=x, head_dim=head_dim)
    inner = layers[2].apply(hidden, norm=norms[2:], eps=eps, has_gelu=True)
    return layers[3].apply(inner, residual=hidden, start=None if scale == 1.0 else x, res_scale=scale)


@_step.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


@dataclass(frozen=True)
class _Layer:
    """A linear layer, and how its kernel is launched."""

    weight: torch.Tensor
    scale: torch.Tensor | None
    bias: torch.Tensor

    def apply(
        self,
        x: torch.Tensor,
        norm: Sequence[torch.Tensor] | None = None,
        eps: float = 0.0,
        parts: tuple[torch.Tensor, torch.Tensor] | None = None,
        has_gelu: bool = False,
        residual: torch.Tensor | None = None,
        start: torch.Tensor | None = None,
        res_scale: float = 1.0,
        cache: torch.Tensor | None = None,
        slot: torch.Tensor | None = None,
        head_dim: int = 1,
    ) -> torch.Tensor:
        """Apply the layer to `x` `[B, 1, in]`, or to the `parts` of an attention `[splits, B, in]`."""
        import triton

        from .step_kernels import linear

        num_outputs, num_inputs = self.weight.shape
        rows = x.shape[0] if parts is None else x.shape[1]
        splits = 0 if parts is None or x.shape[0] == 1 else x.shape[0]
        maxima, sums = (None, None) if parts is None else parts
        gamma, weight_gamma = (None, None) if norm is None else norm
        dtype = x.dtype if residual is None else residual.dtype
        out = x.new_empty(rows, 1, num_outputs, dtype=dtype)
        block_in = triton.next_power_of_2(num_inputs)
        block_in = block_in if block_in <= _SHORT else _LONG_BLOCK
        per_program = _JOINED_WEIGHTS_PER_PROGRAM if splits else _WEIGHTS_PER_PROGRAM
        block_out = max(1, per_program // block_in)
        linear[(triton.cdiv(num_outputs, block_out),)](
            x,
            self.weight,
            self.scale,
            self.bias,
            gamma,
            weight_gamma,
            maxima,
            sums,
            residual,
            start,
            out,
            cache if slot is not None else None,
            slot,
            eps,
            res_scale,
            ROWS=rows,
            IN=num_inputs,
            OUT=num_outputs,
            HEAD_DIM=head_dim,
            SPLITS=splits,
            SLOTS=1 if cache is None else cache.shape[3],
            HAS_GELU=has_gelu,
            BLOCK_OUT=block_out,
            BLOCK_IN=block_in,
            NUM_STAGES=_NUM_STAGES if splits * block_in <= _MAX_STAGED else 1,
            num_warps=_WARPS,
            **_launch(x),
        )
        return out


def _attend(
    projection: torch.Tensor,
    cache: torch.Tensor,
    first: torch.Tensor | None,
    last: torch.Tensor | None,
    num_keys: int,
    heads: int,
    head_dim: int,
    slot: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the parts of an attention `[splits, B, heads * head_dim]`, their maxima and their sums of exponentials."""
    import triton

    from .step_kernels import attention

    rows, block_dim = projection.shape[0], triton.next_power_of_2(head_dim)
    keys_per_program = max(1, _KEYS_PER_PROGRAM // block_dim)
    wanted = triton.next_power_of_2(triton.cdiv(num_keys, keys_per_program))
    splits = max(1, min(wanted, _MAX_PARTS // heads))
    length = triton.cdiv(num_keys, splits)
    out = projection.new_empty(splits, rows, heads * head_dim, dtype=torch.float32)
    maxima, sums = projection.new_empty(2, splits, rows, heads, dtype=torch.float32).unbind(0)
    attention[(rows * heads, splits)](
        projection,
        cache,
        first,
        last,
        maxima,
        sums,
        out,
        head_dim**-0.5,
        ROWS=rows,
        HEADS=heads,
        HEAD_DIM=head_dim,
        WIDTH=projection.shape[-1],
        SLOTS=cache.shape[3],
        KEYS=num_keys,
        HAS_NEW=slot is not None and last is not None,
        LENGTH=length,
        BLOCK_KEYS=min(keys_per_program, triton.next_power_of_2(length)),
        BLOCK_DIM=block_dim,
        num_warps=_WARPS,
        **_launch(projection),
    )
    return out, maxima, sums


def _launch(x: torch.Tensor) -> dict[str, bool]:
    """Return how kernels are launched: before the one before them has ended, where the GPU can do that."""
    if not x.is_cuda or torch.cuda.get_device_capability(x.device) < (9, 0):
        return {"IS_EARLY": False}
    return {"IS_EARLY": True, "launch_pdl": True}
