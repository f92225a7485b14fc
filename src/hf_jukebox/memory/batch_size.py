"""How much memory drawing takes, and how much there is."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from accelerate.utils import get_max_memory
from torch import nn

from ..modeling_prior import JukeboxPrior

logger = logging.getLogger(__name__)

_USABLE = 0.9  # of what is free: allocators round up, and others live there too
# Tensors of a block that are alive at once when a window's context is read, in widths a position: the input, its norm,
# queries, keys and values, the MLP's two sides and their folded copies.
_CONTEXT_WIDTHS = 12


def free_bytes(device: torch.device) -> int:
    """Memory that can be used on a device; on the CPU what the system and, in a container, its limit leave."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(get_max_memory()["cpu"], _left_in_container())


def weight_bytes(model: nn.Module, device: torch.device | None = None) -> int:
    """Bytes of a model's weights; with a `device`, of those that are not there yet."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors if device is None or t.device.type != device.type)


def song_bytes(prior: JukeboxPrior, total: int) -> int:
    """Bytes that a prior needs to draw one song of `total` codes, on top of its weights."""
    config, transformer = prior.config, prior.transformer
    caches = transformer.init_caches(1, torch.device("meta"))
    positions = min(total, config.n_ctx) + config.num_joint_lyrics
    conditioning = config.n_ctx * config.hidden_size * 4
    context = _CONTEXT_WIDTHS * positions * config.hidden_size * transformer.dtype.itemsize
    codes = total * (8 + 4)  # the codes and their random numbers
    return sum(cache.numel() * cache.element_size() for cache in caches) + conditioning + context + codes


def fitting_batch_size(prior: JukeboxPrior, total: int, device: torch.device) -> int:
    """How many songs of `total` codes a prior can draw at a time in the memory that is free, at least one.

    One song is always tried, since the estimate is rough; where it is not likely to fit, that is said.
    """
    left = _USABLE * free_bytes(device) - weight_bytes(prior, device)
    songs = int(left // song_bytes(prior, total))
    if songs < 1:
        logger.warning(
            "The free memory of %s may not suffice for level %d; dtype='float16' needs less, and so does "
            "enable_model_cpu_offload().",
            device,
            prior.config.level,
        )
    return max(1, songs)


def _left_in_container() -> int:
    """What a control group still allows, and without one more than there is."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or no limit
        return 2**63
