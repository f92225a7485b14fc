"""Estimates of the memory that sampling needs and that is free, and the batch size that follows."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from accelerate.utils import get_max_memory
from torch import nn

from ..modeling_prior import JukeboxPrior

logger = logging.getLogger(__name__)

_USABLE = 0.9  # of the free memory: allocators round up, and other programs need some
# Tensors of a block that are alive at once during prefill, in widths per position: the input, its norm, queries, keys
# and values, the MLP's two sides and their folded copies.
_CONTEXT_WIDTHS = 12


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device; on the CPU within the limits of the system and of a container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(get_max_memory()["cpu"], free_container_bytes())


def weight_bytes(model: nn.Module, device: torch.device | None = None) -> int:
    """Return the bytes of a model's weights; with a `device`, of those that are not on it yet."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors if device is None or t.device.type != device.type)


def window_bytes(prior: JukeboxPrior) -> int:
    """Return the bytes of one song's window in progress, as a checkpoint holds it."""
    return sum(tensor.nbytes for tensor in prior.init_state(1, torch.device("meta")).tensors().values())


def memory_advice(prior: JukeboxPrior) -> str:
    """Return what to try when a prior does not fit into memory."""
    offload = "keep the other parts in main memory with `enable_model_cpu_offload()`"
    return f"try `dtype='float16'`, or {offload}" if prior.transformer.dtype == torch.float32 else offload


def song_bytes(prior: JukeboxPrior, total: int) -> int:
    """Return the bytes that a prior needs to sample one song of `total` codes, on top of its weights."""
    config, transformer = prior.config, prior.transformer
    positions = min(total, config.n_ctx) + config.num_joint_lyrics
    context = _CONTEXT_WIDTHS * positions * config.hidden_size * transformer.dtype.itemsize
    codes = total * (8 + 4)  # the codes and their random numbers
    return window_bytes(prior) + context + codes


def fitting_batch_size(prior: JukeboxPrior, total: int, device: torch.device) -> int:
    """Return how many songs of `total` codes a prior can sample at a time in the free memory, at least one.

    One song is always tried, since the estimate is rough; a warning says when it is unlikely to fit.
    """
    left = _USABLE * free_bytes(device) - weight_bytes(prior, device)
    songs = int(left // song_bytes(prior, total))
    if songs < 1:
        logger.warning(
            "Free memory on %s may be too small for level %d; %s.",
            device,
            prior.config.level,
            memory_advice(prior),
        )
    return max(1, songs)


def free_container_bytes() -> int:
    """Return the memory left under the cgroup limit; practically unlimited without one."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or no limit
        return 2**63
