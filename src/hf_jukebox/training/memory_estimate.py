"""How much memory a training step takes, found by taking one on tensors that have shapes but no data."""

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
from ..layers.transformer import TransformerBlock
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from .arguments import LoopArguments

_PRECISIONS = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that each process needs at the peak of a training step.

    What a device holds besides is not in it: a CUDA context and the gaps of its allocator, about 1 GB together.

    Attributes:
        num_parameters: Of the model; no bytes.
        num_trained: Those of them that are trained.
        weights: Parameters and buffers in float32; of a sharded model this process's share, as in the next three.
        gradients: Of the trained parameters.
        optimizer: Adam's two moments.
        average: The moving average of the weights, where the device holds it.
        activations: All that a step holds besides at its peak: activations, halved copies of the weights, and what the
            optimizer computes with.
        exchange: Buffers for the other processes: of gradients, or in a sharded model of whole blocks.
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
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by name, without those that are 0."""
        numbers = ("num_parameters", "num_trained")
        return {name: part for name, part in asdict(self).items() if name not in numbers and part}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {_size(part)}" for name, part in self.parts().items())
        return f"about {_size(self.total)} of memory a process: {parts}"

    def table(self) -> str:
        """The parts as rows of Markdown."""
        rows = [*self.parts().items(), ("**total**", self.total)]
        return "\n".join(["| part | memory |", "|---|---|", *(f"| {name} | {_size(part)} |" for name, part in rows)])


def estimate_memory(
    config: JukeboxPriorConfig | JukeboxVQVAEConfig,
    arguments: LoopArguments,
    *,
    chunk_length: int | None = None,
    num_processes: int = 1,
    sharded: bool = False,
    prepare: Callable[[Any], object] | None = None,
) -> MemoryEstimate:
    """Estimate the peak memory of training a model.

    A step is taken on fake tensors, whose operators make shapes alone, and the bytes of all living tensors are added
    up. So the estimate knows what the model computes and when it lets go of it, without memory or time for it.

    Args:
        config: Of the model.
        arguments: Of the training: batch size, precision, gradient checkpointing and accumulation, and the average.
        chunk_length: Samples of a VQ-VAE's training chunk; a prior is trained on its window.
        num_processes: How many processes train together.
        sharded: Whether they share one model (FSDP); else each has a copy.
        prepare: Called with the model before it is trained, for instance to add adapters.
    """
    dtype = _PRECISIONS[arguments.mixed_precision or "no"]
    with torch.device("meta"):
        model = JukeboxPrior(config) if isinstance(config, JukeboxPriorConfig) else JukeboxVQVAE(config)
        if prepare is not None:
            prepare(model)
    # A sharded model is gathered in the precision of the matrix products; else these work on halved copies.
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
        of_all = {"weights": weights, "gradients": trained, "optimizer": 2 * trained, "average": ema}
        shares = {name: -(-part // num_processes) for name, part in of_all.items()}
        exchange = _whole_blocks(model, dtype)
        return MemoryEstimate(**numbers, **shares, activations=peaks.activations, exchange=exchange)
    autocast_to = None if dtype == torch.float32 else dtype
    peaks = _take_step(model, inputs, arguments, autocast_to=autocast_to)
    # With accumulation the gradients of one batch are there while the next one passes.
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
    """Have a model keep the inputs of its blocks alone, and compute the rest again in the backward pass."""
    # transformers has renamed it within the range of versions that this library takes.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})


class _LiveMemory(TorchDispatchMode):
    """Adds up the bytes of the tensors that operators make, as long as these live."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.gradients = self.peak_besides_gradients = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        self.peak_besides_gradients = max(self.peak_besides_gradients, self.live - self.gradients)
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


@dataclass(frozen=True)
class _Peaks:
    """The most bytes that live at a time, besides the weights and their average."""

    activations: int  # in forward and backward pass, without gradients
    passes: int  # the same with the gradients
    step: int  # in the optimizer's step, with its moments


def _take_step(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    arguments: LoopArguments,
    autocast_to: torch.dtype | None,
) -> _Peaks:
    """The first step of the training loop."""
    if arguments.gradient_checkpointing:
        recompute_activations(model)
    trained = _trained(model)
    optimizer = torch.optim.AdamW(trained, fused=True)
    memory = _LiveMemory()

    def note_gradient(parameter: torch.Tensor) -> None:
        memory.gradients += parameter.nbytes

    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(note_gradient)
    with memory:
        with nullcontext() if autocast_to is None else torch.autocast("cpu", autocast_to):
            output = model(**inputs)
        output.loss.backward()
        activations, passes, memory.peak = memory.peak_besides_gradients, memory.peak, 0
        optimizer.step()
    return _Peaks(activations, passes, memory.peak)


def _make_fake(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace weights on the meta device by fake ones on the CPU, for which attention takes the kernels it should."""
    made: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}  # the old ones are kept, as their ids must stay theirs
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
    """A batch as training gives it. Its values are real, since some of them are checked."""
    if isinstance(model, JukeboxVQVAE):
        if chunk_length is None:
            raise ValueError("Give chunk_length, the samples of a training chunk, to estimate the memory of a VQ-VAE.")
        for quantizer in model.quantizers:
            quantizer.eval()  # how a codebook is updated depends on values, and takes little memory
        return {"audio": torch.zeros(batch_size, chunk_length)}
    config = model.config
    inputs = {"codes": torch.zeros(batch_size, config.n_ctx, dtype=torch.long)}
    if config.is_upsampler:
        inputs["upper_codes"] = torch.zeros(batch_size, config.n_ctx // config.upsampling_ratio, dtype=torch.long)
    if config.has_labels:
        inputs["labels"] = torch.zeros(batch_size, config.label_length, dtype=torch.long)
        inputs["labels"][:, 0] = math.ceil(config.min_duration * config.sampling_rate)
        inputs["labels"][:, 2] = config.window_length
    return inputs


def _whole_blocks(model: nn.Module, dtype: torch.dtype) -> int:
    """What sharded training gathers: two blocks, one of them ahead, all that is in no block, and their gradients."""
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
