"""Setup of Accelerate for a training run, and access to sharded models."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DynamoBackend, GradScalerKwargs
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from transformers import PreTrainedModel

from ..layers.transformer import TransformerBlock
from ..sampling.compiled import check_can_compile
from .arguments import LoopArguments
from .memory_estimate import estimate_memory

logger = logging.getLogger(__name__)

_MOST_VARIANTS = 64  # of a block: kinds of attention, in the prior and in its lyrics encoder, and shapes of batches


def make_accelerator(arguments: LoopArguments) -> Accelerator:
    """Set up processes, devices and precision as `accelerate launch` and the arguments say."""
    AcceleratorState._reset_state()  # a process may train several models in different precisions
    accelerator = Accelerator(
        mixed_precision=arguments.mixed_precision,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to.split(","),
        project_dir=arguments.output_dir,
        # As published: 2^16 at first, halved by an overflow, at most 2^24.
        kwargs_handlers=[GradScalerKwargs(init_scale=2.0**16, growth_interval=1000)],
    )
    if accelerator.is_fsdp2 and (policy := sharded_precision(accelerator.mixed_precision)) is not None:
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    return accelerator


def sharded_precision(mixed_precision: str) -> MixedPrecisionPolicy | None:
    """Return the precision of a sharded model: weights are gathered in half precision, everything else is in float32.

    Accelerate's own policy casts the outputs of every block and sums gradients in half precision, and then the loss is
    a bfloat16, of three digits.
    """
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if mixed_precision not in dtypes:
        return None
    return MixedPrecisionPolicy(
        param_dtype=dtypes[mixed_precision], reduce_dtype=torch.float32, output_dtype=None, cast_forward_inputs=False
    )


def log_memory(config: Any, arguments: LoopArguments, accelerator: Accelerator, **details: Any) -> None:
    """Log the estimated memory of a step before allocating it; for `details` see [`estimate_memory`]."""
    if not accelerator.is_main_process:
        return
    estimate = estimate_memory(
        config,
        replace(arguments, mixed_precision=accelerator.mixed_precision),
        num_processes=accelerator.num_processes,
        sharded=accelerator.is_fsdp2,
        device_type=accelerator.device.type,
        **details,
    )
    logger.info("A step takes %s.", estimate)


def compile_blocks(model: PreTrainedModel, accelerator: Accelerator) -> bool:
    """Compile the blocks of a prior where `accelerate launch --dynamo_backend` asks for it, once per kind of block.

    Return True if they are compiled. Left to Accelerate, the model would be wrapped, and its weights would have other
    names in a checkpoint.

    Raises:
        OSError: the compiler that the device needs is missing.
    """
    plugin = accelerator.state.dynamo_plugin
    if plugin.backend == DynamoBackend.NO:
        return False
    options = {"dynamic": False, **plugin.to_kwargs()}
    plugin.backend = DynamoBackend.NO
    blocks = [module for module in model.modules() if isinstance(module, TransformerBlock)]
    if not blocks:
        logger.warning("A %s has no blocks to compile; training it uncompiled.", type(model).__name__)
        return False
    if options["backend"] == "inductor":
        check_can_compile(accelerator.device, "Compiling the blocks", "train without --dynamo_backend")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_VARIANTS)
    for block in blocks:
        block.compile(**options)
    logger.info("The first step compiles %d blocks, once per kind.", len(blocks))
    return True


@contextmanager
def unsharded(model: PreTrainedModel) -> Iterator[None]:
    """Gather a sharded model on every process, so that methods other than `forward` work."""
    shards: list[Any] = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)  # otherwise blocks reshard after their first forward
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.set_reshard_after_forward(module is not model, recurse=False)
            module.reshard()


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a sharded scalar, such as a gradient norm."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
