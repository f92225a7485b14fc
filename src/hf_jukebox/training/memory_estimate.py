"""Estimate of the memory of a training step, from a step on fake tensors, which have shapes but no data."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import PreTrainedModel

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..layers.conditioning import LabelColumns
from ..layers.transformer import TransformerBlock
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from .arguments import LoopArguments

_PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that each process needs at the peak of a training step.

    The CUDA context and the fragmentation of the allocator, about 1 GB together, come on top.

    Attributes:
        num_parameters: Number of parameters (not bytes).
        num_trained: Number of trained parameters (not bytes).
        weights: Parameters and buffers in float32; if the model is sharded, this process's share, as in the next three.
        gradients: Gradients of the trained parameters.
        optimizer: Adam's two moments.
        ema: Moving average of the weights, unless it is offloaded.
        activations: Everything else at the peak: activations, half-precision copies of the weights, and temporaries of
            the optimizer.
        exchange: Communication buffers: of gradients or, if the model is sharded, of whole blocks.
    """

    num_parameters: int
    num_trained: int
    weights: int
    gradients: int
    optimizer: int
    ema: int
    activations: int
    exchange: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Return bytes by name, without parts of 0 bytes."""
        numbers = ("num_parameters", "num_trained")
        return {name: part for name, part in asdict(self).items() if name not in numbers and part}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(part)}" for name, part in self.parts().items())
        return f"about {_size(self.total)} of memory per process: {parts}"

    def table(self) -> str:
        """Format the parts as a Markdown table."""
        rows = [*self.parts().items(), ("**total**", self.total)]
        return "\n".join(["| part | memory |", "|---|---|", *(f"| {name} | {_size(part)} |" for name, part in rows)])


def estimate_memory(
    config: JukeboxPriorConfig | JukeboxVQVAEConfig,
    arguments: LoopArguments,
    *,
    chunk_length: int | None = None,
    num_processes: int = 1,
    sharded: bool = False,
    device_type: str = "cuda",
    prepare: Callable[[Any], object] | None = None,
) -> MemoryEstimate:
    """Estimate the peak memory of training a model.

    It runs one step on fake tensors, whose operators compute shapes alone, and sums the bytes of all live tensors. So
    it covers all that the model computes, and when it is freed, without using that memory or time.

    Args:
        config: Config of the model.
        arguments: Batch size, precision, gradient checkpointing and accumulation, and EMA options are used.
        chunk_length: Samples of a VQ-VAE's training chunk; a prior is trained on its window.
        num_processes: Number of processes that train together.
        sharded: True if they shard one model (FSDP); otherwise each has a copy.
        device_type: Type of the device to train on, such as `"cuda"` or `"cpu"`.
        prepare: Called with the model before training, for instance to add adapters.

    Raises:
        ValueError: `chunk_length` is missing.
    """
    dtype = _PRECISIONS[arguments.mixed_precision or "no"]
    if dtype == torch.bfloat16 and device_type != "cpu":
        # Of the same size. The fake tensors are on a CPU, where alone bfloat16 attention is computed in float32.
        dtype = torch.float16
    with torch.device("meta"):
        model = JukeboxPrior(config) if isinstance(config, JukeboxPriorConfig) else JukeboxVQVAE(config)
        if prepare is not None:
            prepare(model)
    # A sharded model is gathered in the precision of the matrix products; otherwise these use converted copies.
    _make_fake(model, dtype if sharded else torch.float32)
    model.train()
    inputs = _inputs(model, arguments.train_batch_size, chunk_length)
    numbers = {
        "num_parameters": sum(each.numel() for each in model.parameters()),
        "num_trained": sum(each.numel() for each in _trained(model)),
    }
    trained = 4 * numbers["num_trained"]
    ema = trained if arguments.use_ema and not arguments.offload_ema else 0
    weights = 4 * numbers["num_parameters"] + sum(each.nbytes for each in model.buffers())
    if sharded:
        peaks = _take_step(model, inputs, arguments, autocast_to=None)
        totals = {"weights": weights, "gradients": trained, "optimizer": 2 * trained, "ema": ema}
        shares = {name: -(-part // num_processes) for name, part in totals.items()}
        exchange = _gathered_blocks(model, dtype)
        return MemoryEstimate(**numbers, **shares, activations=peaks.activations, exchange=exchange)
    autocast_to = None if dtype == torch.float32 else dtype
    peaks = _take_step(model, inputs, arguments, autocast_to=autocast_to)
    # With accumulation, the gradients of one batch are held during the forward and backward pass of the next.
    accumulates = arguments.gradient_accumulation_steps > 1
    passes = trained + peaks.activations if accumulates else peaks.passes
    return MemoryEstimate(
        **numbers,
        weights=weights,
        gradients=trained,
        optimizer=2 * trained,
        ema=ema,
        activations=max(passes + 2 * trained, peaks.step) - 3 * trained,
        exchange=trained if num_processes > 1 else 0,  # the buckets of DistributedDataParallel
    )


def recompute_activations(model: PreTrainedModel) -> None:
    """Enable gradient checkpointing: keep the inputs of the blocks alone, and recompute the rest."""
    # transformers renamed the method within the range of versions that this library supports.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})


class _LiveMemory(TorchDispatchMode):
    """Sum of the bytes of all live tensors that operators have made."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.gradients = self.peak_besides_gradients = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        self.peak_besides_gradients = max(self.peak_besides_gradients, self.live - self.gradients)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._counted:
            self._counted.add(key)
            self.live += size
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.live -= size


@dataclass(frozen=True)
class _Peaks:
    """Peaks of live bytes, besides the weights and their EMA."""

    activations: int  # in forward and backward pass, without gradients
    passes: int  # the same with the gradients
    step: int  # in the optimizer's step, with its moments


def _take_step(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    arguments: LoopArguments,
    autocast_to: torch.dtype | None,
) -> _Peaks:
    """Run the first step of the training loop."""
    if arguments.gradient_checkpointing:
        recompute_activations(model)
    trained = _trained(model)
    optimizer = torch.optim.AdamW(trained, fused=True)
    memory = _LiveMemory()

    def count_gradient(parameter: torch.Tensor) -> None:
        memory.gradients += parameter.nbytes

    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(count_gradient)
    with memory:
        with nullcontext() if autocast_to is None else torch.autocast("cpu", autocast_to):
            output = model(**inputs)
        output.loss.backward()
        activations, passes, memory.peak = memory.peak_besides_gradients, memory.peak, 0
        optimizer.step()
    return _Peaks(activations, passes, memory.peak)


def _make_fake(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace weights on the meta device by fake ones on the CPU, so that attention selects its CPU kernels."""
    made: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # holds the old ones too, so that no id is reused
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, old in module.named_parameters(recurse=False):
                if id(old) not in made:
                    new = nn.Parameter(torch.empty(old.shape, dtype=dtype), requires_grad=old.requires_grad)
                    made[id(old)] = (old, new)
                module._parameters[name] = made[id(old)][1]
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _inputs(model: JukeboxPrior | JukeboxVQVAE, batch_size: int, chunk_length: int | None) -> dict[str, torch.Tensor]:
    """Make a batch as in training. Its values are real, because the model validates some of them."""
    if isinstance(model, JukeboxVQVAE):
        if chunk_length is None:
            raise ValueError("Give chunk_length, the samples of a training chunk, to estimate the memory of a VQ-VAE.")
        for quantizer in model.quantizers:
            quantizer.eval()  # a codebook update depends on values, and takes little memory
        return {"audio": torch.zeros(batch_size, chunk_length)}
    config = model.config
    inputs = {"codes": torch.zeros(batch_size, config.n_ctx, dtype=torch.long)}
    if config.is_upsampler:
        inputs["upper_codes"] = torch.zeros(batch_size, config.n_ctx // config.upsampling_ratio, dtype=torch.long)
    if config.has_labels:
        inputs["labels"] = torch.zeros(batch_size, config.label_length, dtype=torch.long)
        inputs["labels"][:, LabelColumns.total_length] = math.ceil(config.min_duration * config.sampling_rate)
        inputs["labels"][:, LabelColumns.window_length] = config.window_length
    return inputs


def _gathered_blocks(model: nn.Module, dtype: torch.dtype) -> int:
    """Return the bytes that sharded training gathers: two blocks, one of them prefetched, and all other weights, with
    their gradients.
    """
    blocks = [
        sum(each.numel() for each in block.parameters())
        for block in model.modules()
        if isinstance(block, TransformerBlock)
    ]
    largest = max(blocks, default=0)
    rest = sum(each.numel() for each in model.parameters()) - sum(blocks)
    return (3 * largest + 2 * rest) * dtype.itemsize


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
