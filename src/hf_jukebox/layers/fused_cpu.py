"""The blocks of a compiled decode step on a CPU as the kernels of `step_kernels.cpp`: one call a step.

The compiler writes a loop per operator, and its threads wait for each other after each. Libraries multiply many rows
well, and the few rows of a step badly. These kernels read the weights once, as they are stored, for all rows, and what
they compute for a row depends on neither the other rows nor the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..hardware import vector_bits
from .attention import Attention, StepPosition
from .fast_paths import is_int8_by_row, is_plain, step_linear
from .transformer import Transformer, step_linears

logger = logging.getLogger(__name__)

_DTYPES = (torch.float32, torch.bfloat16)

_SOURCES = ("step_vectors.h", "step_kernels.cpp")

# A sum must not depend on how a loop is compiled; and PyTorch turns off the vectors of plain loops.
_FLAGS = ("-ffp-contract=off", "-ftree-loop-vectorize")


@dataclass(frozen=True)
class CpuSteps:
    """The blocks of a transformer as the kernels read them, and the memory they work in.

    Attributes:
        attentions: One of each kind.
        table: `[blocks, fields]`, the C++ struct `Block` of each.
        read: Tensors that the table points to.
        workspace: What is computed between the layers.
        kernel: Name of the kernel for these weights and caches.
        sizes: Width, MLP width, heads, size of a head.
        eps: Of the norms.
        scale: Of the residual.
    """

    attentions: list[Attention]
    table: torch.Tensor
    read: list[torch.Tensor]
    workspace: torch.Tensor
    kernel: str
    sizes: list[int]
    eps: float
    scale: float

    def step(self, x: torch.Tensor, at: StepPosition, caches: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them."""
        keys = torch.cat([_keys(attention, at) for attention in self.attentions])
        return _step(
            x.float(),
            list(caches),
            self.workspace,
            self.table,
            keys,
            self.kernel,
            self.sizes,
            self.eps,
            self.scale,
        ).to(x.dtype)

    def linear(self, layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        """Apply a layer outside the blocks to `x` `[B, in]`."""
        if not is_plain(layer.weight) or layer.weight.dtype != torch.float32:
            return step_linear(layer, x)
        y = _multiply(x, layer.weight)
        return y if layer.bias is None else y + layer.bias


def fuse(transformer: Transformer, batch_size: int) -> CpuSteps | None:
    """Return the blocks of a transformer for so many rows; None if the kernels cannot read their weights.

    Weights are shared. The first time, the kernels are compiled.
    """
    layers = [layer for block in transformer.blocks for layer in step_linears(block)]
    can_be_read = (
        sys.platform != "win32"  # whose compiler has no vectors
        and transformer.dtype in _DTYPES
        and all(_can_be_read(layer, transformer.dtype) for layer in layers)
        and len({is_plain(layer.weight) for layer in layers}) == 1
        and _kernels() is not None
    )
    if not can_be_read:
        return None
    attention, read = transformer.shape.attention, list[torch.Tensor]()
    kinds = list(dict.fromkeys(transformer.kinds))
    table = []
    for block, kind in zip(transformer.blocks, transformer.kinds, strict=True):
        fields = []
        for layer in step_linears(block):
            parts = _parts(layer)
            read += parts
            fields += [part.data_ptr() for part in parts] + [layer.in_features, layer.out_features]
        for norm in (block.norm1, block.norm2):
            parts = [norm.weight.detach().float(), norm.bias.detach().float()]
            read += parts
            fields += [part.data_ptr() for part in parts]
        table.append([*fields, kinds.index(kind), block.attn.cache_slots])
    dtype = str(transformer.dtype).removeprefix("torch.")
    sizes = [attention.width, transformer.shape.mlp_width, attention.heads, attention.head_dim]
    numbers = 2 * attention.width + 4 * attention.state + transformer.shape.mlp_width
    numbers += max(attention.width, 3 * attention.state, transformer.shape.mlp_width)
    return CpuSteps(
        attentions=[transformer.blocks[transformer.kinds.index(kind)].attn for kind in kinds],
        table=torch.tensor(table),
        read=read,
        workspace=torch.empty(batch_size * numbers),
        kernel=f"step_{dtype if is_plain(layers[0].weight) else 'int8'}_{dtype}",
        sizes=sizes,
        eps=transformer.blocks[0].norm1.eps,
        scale=transformer.blocks[0].scale,
    )


def _can_be_read(layer: nn.Module, dtype: torch.dtype) -> bool:
    """Return True for a layer whose weights are stored row by row, plain or as int8 without a zero point."""
    if not isinstance(layer, nn.Linear):  # an adapter, for example
        return False
    weight: Any = layer.weight
    if weight.device.type != "cpu" or weight.dtype != dtype:
        return False
    return is_plain(weight) or (is_int8_by_row(weight) and not bool(weight.zero_point.any()))


def _parts(layer: nn.Linear) -> list[torch.Tensor]:
    """Return the weights of a layer, their scale per row, 1 for those that are not int8, and its bias."""
    weight: Any = layer.weight
    if is_plain(weight):
        stored, scale = weight.detach(), torch.ones(layer.out_features)
    else:
        stored, scale = weight.qdata, weight.scale.float().reshape(-1)
    return [stored.contiguous(), scale.contiguous(), layer.bias.detach().float()]


def _keys(attention: Attention, at: StepPosition) -> torch.Tensor:
    """Return the slot of a step's own key, -1 if it has none, the first slot that it sees, and how many: `[3]`."""
    keys = attention.key_range(at)
    slot = torch.full_like(at.position, -1) if keys.slot is None else keys.slot
    first = torch.zeros_like(at.position) if keys.first is None else keys.first
    length = torch.full_like(at.position, keys.length)
    return torch.cat([slot, first, length if keys.last is None else (keys.last + 1).minimum(length)])


@torch.library.custom_op("hf_jukebox::fused_cpu_step", mutates_args=("caches", "workspace"))
def _step(
    x: torch.Tensor,
    caches: Sequence[torch.Tensor],
    workspace: torch.Tensor,
    table: torch.Tensor,
    keys: torch.Tensor,
    kernel: str,
    sizes: Sequence[int],
    eps: float,
    scale: float,
) -> torch.Tensor:
    out = x.clone(memory_format=torch.contiguous_format)
    pointers = (ctypes.c_void_p * len(caches))(*[cache.data_ptr() for cache in caches])
    getattr(_kernels(), kernel)(
        ctypes.c_void_p(table.data_ptr()),
        ctypes.c_int64(len(caches)),
        ctypes.c_void_p(keys.data_ptr()),
        pointers,
        ctypes.c_void_p(out.data_ptr()),
        ctypes.c_void_p(workspace.data_ptr()),
        ctypes.c_int64(x.shape[0]),
        *map(ctypes.c_int64, sizes),
        ctypes.c_float(eps),
        ctypes.c_float(scale),
        ctypes.c_int(torch.get_num_threads()),
    )
    return out


@_step.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("hf_jukebox::cpu_multiply", mutates_args=())
def _multiply(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return `x @ weight.T`, in float32."""
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_empty(len(x), len(weight))
    _kernels().multiply_float32(
        ctypes.c_void_p(weight.data_ptr()),
        ctypes.c_void_p(x.data_ptr()),
        ctypes.c_void_p(y.data_ptr()),
        ctypes.c_int64(len(x)),
        ctypes.c_int64(x.shape[1]),
        ctypes.c_int64(len(weight)),
        ctypes.c_int(torch.get_num_threads()),
    )
    return y


@_multiply.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


@functools.cache
def _kernels() -> Any:
    """Return the compiled kernels as a library; None, with a warning, if the compiler does not take them."""
    from torch._inductor.codecache import CppCodeCache
    from torch._inductor.exc import CppCompileError

    # What ATEN_CPU_CAPABILITY leaves out, the compiler would use.
    flags = ("-mno-avx512f", *_FLAGS) if torch.backends.cpu.get_cpu_capability() == "AVX2" else _FLAGS
    header, source = (Path(__file__).with_name(name).read_text("utf-8") for name in _SOURCES)
    try:
        with torch._inductor.config.patch({"cpp.simdlen": vector_bits()}):
            # As one text, by which PyTorch looks compiled code up.
            return CppCodeCache.load(source.replace(f'#include "{_SOURCES[0]}"', header), extra_flags=flags)
    except CppCompileError as error:
        logger.warning("The kernels of a step cannot be compiled, so slower ones are generated instead: %s", error)
        return None
