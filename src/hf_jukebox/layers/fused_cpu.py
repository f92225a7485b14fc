"""The blocks of a compiled decode step on a CPU as the kernels of `step_kernels.cpp`: one call a step.

The compiler writes a loop per operator, and its threads wait for each other after each. Libraries multiply many rows
well, and the few rows of a step badly. These kernels read the weights once, as they are stored, for all rows, and what
they compute for a row depends on neither the other rows nor the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import nn

from ..hardware import vector_bits
from .attention import Attention, StepPosition
from .fast_paths import can_be_read, is_plain, step_linear
from .thread_count import ThreadCount
from .transformer import Transformer, step_linears

logger = logging.getLogger(__name__)

_DTYPES = (torch.float32, torch.bfloat16)

_SOURCES = ("step_vectors.h", "step_products.h", "step_kernels.cpp")

# Sums must not depend on how a loop is compiled. Traps, which PyTorch's flags leave on for Clang, would keep it from
# making vectors.
_FLAGS = ("-ffp-contract=off", "-fno-trapping-math")

_threads = ThreadCount()  # of the process: what takes its cores does not depend on the model


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
        """Run one position, `x` `[B, 1, width]`, over the caches, and append it to them.

        Or successive positions of one song and one row of columns, `[n, 1, width]`: those beyond `at.count` are
        returned as they are.
        """
        return _step(
            x.float(),
            list(caches),
            self.workspace,
            self.table,
            torch.stack([_keys(attention, at) for attention in self.attentions]),
            at.count,
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


@dataclass(frozen=True)
class _Layer:
    """A linear layer as the kernels read it, the C++ struct `Linear`.

    Attributes:
        weight: `[out, in]`, plain or int8.
        scale: `[out]`, of int8 weights; 1 for others.
        bias: `[out]`.
        down, up: `[rank, in]` and `[rank, out]`, of all adapters together.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [self.weight, self.scale, self.bias, self.down, self.up]

    @property
    def fields(self) -> list[int]:
        outputs, inputs = self.weight.shape
        return [*(tensor.data_ptr() for tensor in self.tensors), inputs, outputs, len(self.down)]


@torch.no_grad()
def fuse(transformer: Transformer, batch_size: int) -> CpuSteps | None:
    """Return the blocks of a transformer for `batch_size` rows; None if the kernels cannot read their weights.

    Weights are shared. The first time, the kernels are compiled.
    """
    layers = [[_read(layer, transformer.dtype) for layer in step_linears(block)] for block in transformer.blocks]
    weights = {None if layer is None else layer.weight.dtype for block in layers for layer in block}
    can_be_read = None not in weights and len(weights) == 1 and transformer.dtype in _DTYPES
    if not can_be_read or sys.platform == "win32" or _kernels() is None:  # the compiler of Windows has no vectors
        return None
    kinds = list(dict.fromkeys(transformer.kinds))
    table, read = [], list[torch.Tensor]()
    for block, kind, read_layers in zip(transformer.blocks, transformer.kinds, layers, strict=True):
        fields = []
        for layer in filter(None, read_layers):
            assert all(part.dtype == torch.float32 for part in layer.tensors[1:])  # C++ reads them as such
            read += layer.tensors
            fields += layer.fields
        for norm in (block.norm1, block.norm2):
            parts = [norm.weight.float(), norm.bias.float()]
            read += parts
            fields += [part.data_ptr() for part in parts]
        table.append([*fields, kinds.index(kind), block.attn.cache_slots])
    shape, dtype = transformer.shape.attention, str(transformer.dtype).removeprefix("torch.")
    widths = [shape.width, 3 * shape.state, transformer.shape.mlp_width]
    return CpuSteps(
        attentions=[transformer.blocks[transformer.kinds.index(kind)].attn for kind in kinds],
        table=torch.tensor(table, dtype=torch.int64, device="cpu"),
        read=read,
        workspace=_float32(batch_size * (sum(widths) + max(widths) + shape.width + shape.state)),
        kernel=f"step_{'int8' if torch.int8 in weights else dtype}_{dtype}",
        sizes=[shape.width, transformer.shape.mlp_width, shape.heads, shape.head_dim],
        eps=transformer.blocks[0].norm1.eps,
        scale=transformer.blocks[0].scale,
    )


def _float32(*shape: int) -> torch.Tensor:
    """Return an empty tensor as the kernels read it, whatever the defaults of the process."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _read(layer: nn.Module, dtype: torch.dtype) -> _Layer | None:
    """Return a layer as the kernels read it; None unless its weights are `dtype`, or int8 without a zero point."""
    base: Any = layer.base_layer if isinstance(getattr(layer, "base_layer", None), nn.Linear) else layer
    adapters = [] if base is layer else _adapters(layer)
    weight: Any = base.weight if isinstance(base, nn.Linear) else None
    if weight is None or adapters is None:
        return None
    if weight.device.type != "cpu" or weight.dtype != dtype or not can_be_read(weight):
        return None
    if is_plain(weight):
        stored, scale = weight, _float32(base.out_features).fill_(1)
    else:
        stored, scale = weight.qdata, weight.scale.float().reshape(-1)
    down = torch.cat([_float32(0, base.in_features), *(down for down, _ in adapters)])
    up = torch.cat([_float32(0, base.out_features), *(up for _, up in adapters)])
    up /= scale  # by which the kernels multiply the whole sum
    return _Layer(stored.contiguous(), scale.contiguous(), base.bias.float(), down, up)


def _adapters(layer: Any) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """Return the matrices of a LoRA layer's adapters in use, `[rank, in]` and `[rank, out]`; None for other kinds."""
    is_plain_lora = hasattr(layer, "lora_A") and not any(layer.lora_bias.values()) and not layer.lora_variant
    if not is_plain_lora:
        return None
    if layer.disable_adapters or layer.merged:
        return []
    return [
        (layer.lora_A[name].weight.float(), layer.lora_B[name].weight.float().T * layer.scaling[name])
        for name in layer.active_adapters
        if name in layer.lora_A
    ]


def _keys(attention: Attention, at: StepPosition) -> torch.Tensor:
    """Return the slot of each position's own key, -1 if it has none, the first that it sees, how many: `[n, 3]`."""
    keys = attention.key_range(at)
    slot = torch.full_like(at.position, -1) if keys.slot is None else keys.slot
    first = torch.zeros_like(at.position) if keys.first is None else keys.first
    length = torch.full_like(at.position, keys.length)
    return torch.stack([slot, first, length if keys.last is None else (keys.last + 1).minimum(length)], dim=1)


@torch.library.custom_op("hf_jukebox::fused_cpu_step", mutates_args=("caches", "workspace"))
def _step(
    x: torch.Tensor,
    caches: Sequence[torch.Tensor],
    workspace: torch.Tensor,
    table: torch.Tensor,
    keys: torch.Tensor,
    count: torch.Tensor | None,
    kernel: str,
    sizes: Sequence[int],
    eps: float,
    scale: float,
) -> torch.Tensor:
    out = x.clone(memory_format=torch.contiguous_format)
    rows = len(x) if count is None else int(count)
    threads = _threads.for_step((kernel, rows, table.data_ptr()), torch.get_num_threads())
    started = time.perf_counter()
    pointers = (ctypes.c_void_p * len(caches))(*[cache.data_ptr() for cache in caches])
    getattr(_kernels(), kernel)(
        ctypes.c_void_p(table.data_ptr()),
        ctypes.c_int64(len(caches)),
        ctypes.c_void_p(keys.data_ptr()),
        pointers,
        ctypes.c_void_p(out.data_ptr()),
        ctypes.c_void_p(workspace.data_ptr()),
        ctypes.c_int64(rows),
        ctypes.c_int64(keys.shape[1]),
        *map(ctypes.c_int64, sizes),
        ctypes.c_float(eps),
        ctypes.c_float(scale),
        ctypes.c_int(threads),
    )
    _threads.took(time.perf_counter() - started)
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
        ctypes.c_int(_threads.current(torch.get_num_threads())),
    )
    return y


@_multiply.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def complaint(output: str) -> str:
    """Return the first error that a C++ compiler reports, without its place; its last line if there is none."""
    lines = output.strip().splitlines() or ["nothing"]
    return next((line.split("error: ", 1)[1] for line in lines if "error: " in line), lines[-1]).strip()


@functools.cache
def _kernels() -> Any:
    """Return the compiled kernels as a library; None, with a warning, if the compiler does not take them."""
    from torch._inductor.codecache import CppCodeCache
    from torch._inductor.exc import CppCompileError

    # What ATEN_CPU_CAPABILITY leaves out, the compiler would use.
    flags = ("-mno-avx512f", *_FLAGS) if torch.backends.cpu.get_cpu_capability() == "AVX2" else _FLAGS
    texts = [resources.files(__package__).joinpath(name).read_text("utf-8") for name in _SOURCES]
    source = re.sub('#include ".*"', "", "".join(texts))  # one text, by which PyTorch looks compiled code up
    try:
        with torch._inductor.config.patch({"cpp.simdlen": vector_bits()}):
            return CppCodeCache.load(source, extra_flags=flags)
    except CppCompileError as error:
        logger.warning(
            "The kernels of a step cannot be compiled, so slower ones are generated instead; %s says: %s",
            error.cmd[0],
            complaint(error.output),
        )
        return None
