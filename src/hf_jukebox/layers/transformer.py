"""Transformer of the priors and of the lyrics encoder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention import (
    ATTENTION_CLASSES,
    Attention,
    AttentionKind,
    AttentionShape,
    LyricsAttention,
    StepPosition,
    attention_kinds,
)
from .fast_paths import GELU_SLOPE, Linear, quick_gelu, step_linear


@dataclass(frozen=True)
class TransformerShape:
    """Sizes of a transformer; `attention.width` is its width."""

    attention: AttentionShape
    depth: int
    order: int
    mlp_width: int
    res_scale: bool = False


class LayerNorm(nn.LayerNorm):
    """LayerNorm that computes in float32 whatever the precision of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class MLP(nn.Module):
    """Two linear layers around `z * sigmoid(1.702 z)`, the sigmoid form of GELU (Hendrycks and Gimpel 2016)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(quick_gelu(self.fc1(x)))

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the same formula to one position, `x` `[B, 1, width]`."""
        hidden = step_linear(self.fc1, x)
        return step_linear(self.fc2, hidden * torch.sigmoid(GELU_SLOPE * hidden))


class TransformerBlock(GradientCheckpointingLayer):
    """`a = attn(norm1(x)); m = mlp(norm2(x + a)); x + (a + m) * scale`."""

    def __init__(self, shape: TransformerShape, kind: AttentionKind) -> None:
        super().__init__()
        width = shape.attention.width
        self.scale = 1 / shape.depth if shape.res_scale else 1.0
        self.norm1 = LayerNorm(width)
        self.attn: Attention = ATTENTION_CLASSES[kind](shape.attention)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width, shape.mlp_width)

    def forward(
        self, x: torch.Tensor, lyrics: torch.Tensor | None = None, cache: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._add(x, self.attn(self.norm1(x), lyrics, cache), self.mlp)

    def step(self, x: torch.Tensor, at: StepPosition, cache: torch.Tensor) -> torch.Tensor:
        return self._add(x, self.attn.step(self.norm1(x), at, cache), self.mlp.step)

    def _add(
        self, x: torch.Tensor, attended: torch.Tensor, mlp: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        hidden = x + attended
        update = mlp(self.norm2(hidden))
        return hidden + update if self.scale == 1.0 else x + (attended + update) * self.scale


class FusedSteps(Protocol):
    """The blocks of a transformer as kernels written by hand, for one device and number of rows."""

    def step(self, x: torch.Tensor, at: StepPosition, caches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them."""
        ...

    def linear(self, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """Apply a layer outside the blocks to `x` `[B, in]`."""
        ...


def step_linears(block: TransformerBlock) -> list[nn.Linear]:
    """Return the linear layers that a step of a block runs, in their order."""
    attn = block.attn
    projection = attn.q_proj if isinstance(attn, LyricsAttention) else attn.qkv_proj
    return [projection, attn.out_proj, block.mlp.fc1, block.mlp.fc2]


class Transformer(nn.Module):
    """A sequence of blocks, without a norm after the last one."""

    blocks: Sequence[TransformerBlock]  # an nn.ModuleList

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.kinds = attention_kinds(shape.order, shape.depth)
        blocks = nn.ModuleList(TransformerBlock(shape, kind) for kind in self.kinds)
        self.blocks = cast(Sequence[TransformerBlock], blocks)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the blocks' linear layers, which may be lower than that of everything around them."""
        return self.blocks[0].mlp.fc1.weight.dtype

    def forward(
        self,
        x: torch.Tensor,
        lyrics: torch.Tensor | None = None,
        caches: Sequence[torch.Tensor] | None = None,
        recorded: RecordedOutputs | None = None,
    ) -> torch.Tensor:
        """Run over `x` `[B, T, width]`, T positions from the window's start.

        Args:
            lyrics: States of the separate lyrics encoder `[B, num_lyrics, width]`.
            caches: One per block, filled so that `step` can continue at position T.
            recorded: Receives intermediate outputs.
        """
        length, dtype = x.shape[1], x.dtype
        x, lyrics = self._whole_rows(x), None if lyrics is None else lyrics.to(self.dtype)
        for layer, block in enumerate(self.blocks):
            if recorded is not None:
                recorded.record(layer, block, x, lyrics, length)
            x = block(x, lyrics, None if caches is None else caches[layer])
        if recorded is not None and recorded.hidden_states is not None:
            recorded.hidden_states.append(x[:, :length])
        return x[:, :length].to(dtype)

    def iter_hidden_states(self, x: torch.Tensor, lyrics: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Yield the input of the first block, then the output of each, `[B, T, width]`; see `forward`.

        A block runs when its output is asked for, so blocks above the last requested one need not have weights.
        """
        length = x.shape[1]
        x, lyrics = self._whole_rows(x), None if lyrics is None else lyrics.to(self.dtype)
        yield x[:, :length]
        for block in self.blocks:
            x = block(x, lyrics)
            yield x[:, :length]

    def _whole_rows(self, x: torch.Tensor) -> torch.Tensor:
        """Pad `x` `[B, T, width]` to whole rows, which the patterns fold, in the precision of the blocks.

        Padding comes after every real position, so causal attention never sees it.
        """
        return F.pad(x, (0, 0, 0, -x.shape[1] % self.shape.attention.columns)).to(self.dtype)

    def step(
        self,
        x: torch.Tensor,
        at: StepPosition,
        caches: Sequence[torch.Tensor],
        fused: FusedSteps | None = None,
    ) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them.

        Args:
            fused: What runs the blocks; None for their operators.
        """
        if fused is not None:
            return fused.step(x, at, caches)
        dtype = x.dtype
        x = x.to(self.dtype)
        step = _step_compiled_block if torch.compiler.is_compiling() and x.device.type == "cuda" else _step_block
        for block, cache in zip(self.blocks, caches, strict=True):
            x = step(block, x, cache, *at.tensors)
        return x.to(dtype)

    def prefill_lyrics(self, lyrics: torch.Tensor, caches: Sequence[torch.Tensor]) -> None:
        """Write the states of the separate lyrics encoder into the caches of the layers that attend to them."""
        for block, cache in zip(self.blocks, caches, strict=True):
            if isinstance(block.attn, LyricsAttention):
                block.attn.prefill_lyrics(lyrics.to(self.dtype), cache)

    def init_caches(self, batch_size: int, device: torch.device) -> list[torch.Tensor]:
        """Return an empty cache per block, shaped by its attention pattern."""
        return [block.attn.new_cache(batch_size, self.dtype, device) for block in self.blocks]


def _step_block(block: TransformerBlock, x: torch.Tensor, cache: torch.Tensor, *at: torch.Tensor) -> torch.Tensor:
    return block.step(x, StepPosition(*at), cache)


# Blocks that are alike are compiled once for CUDA, where generating the code of 72 blocks takes minutes. Elsewhere they
# are compiled as one: then a CPU has fewer barriers.
# The compiler does not see that a region writes to its inputs, so its own CUDA graphs would lose the caches: the step
# as a whole is captured instead (`sampling/step_graph.py`).
_step_compiled_block = torch.compiler.nested_compile_region(_step_block)


@dataclass
class RecordedOutputs:
    """Intermediate outputs to keep of a pass: all hidden states, the attention of some heads."""

    hidden_states: list[torch.Tensor] | None = None  # the input of each block and the output of the last, [B, T, width]
    heads: Collection[tuple[int, int]] = ()  # (layer, head)
    attentions: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)  # [B, T, keys] per head

    def record(
        self, layer: int, block: TransformerBlock, x: torch.Tensor, lyrics: torch.Tensor | None, length: int
    ) -> None:
        """Keep the wanted outputs of block `layer`, given its input `x`, of which `length` positions are real."""
        if self.hidden_states is not None:
            self.hidden_states.append(x[:, :length])
        keys = None if isinstance(block.attn, LyricsAttention) else length
        for head in (head for wanted_layer, head in self.heads if wanted_layer == layer):
            self.attentions[layer, head] = block.attn.weights(block.norm1(x), lyrics, head)[:, :length, :keys]
