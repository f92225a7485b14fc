"""A step as a CUDA graph: one launch per code instead of more than a thousand."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import torch

from ..allocator import is_out_of_memory
from ..modeling_prior import JukeboxPrior
from .step import StepBuffers

logger = logging.getLogger(__name__)

LEAD = 64
"""The host waits for the code before the last `LEAD`: progress is early by up to twice as many codes."""

_WARM_UP_STEPS = 3  # compile, choose algorithms and allocate the workspaces of the libraries


def can_be_captured(prior: JukeboxPrior) -> bool:
    """Return whether the weights of a prior are on one CUDA device and stay there, as a CUDA graph needs."""
    device = prior.position_embedding.device
    tensors = (*prior.parameters(), *prior.buffers())
    has_hooks = any(hasattr(module, "_hf_hook") for module in prior.transformer.modules())  # they move weights
    return device.type == "cuda" and not has_hooks and all(tensor.device == device for tensor in tensors)


class StepGraph:
    """A step that is captured once and then replayed.

    Args:
        step: Runs the step on tensors that stay where they are, among them `buffers`; without a wait for the device.
    """

    def __init__(self, step: Callable[[], None], buffers: StepBuffers) -> None:
        self._replay = step
        self._events: deque[torch.cuda.Event] = deque()
        self._num_launched = 0
        self._device = buffers.position.device
        # The current device may be another one: a graph captured there would be empty.
        with torch.inference_mode(), torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            _warm_up(step, buffers, stream)
            try:
                graph = torch.cuda.CUDAGraph()
                # NCCL's watchdog, another thread, may go on.
                with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                    step()
                self._replay = graph.replay
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                logger.warning("The step cannot be a CUDA graph (%s); its kernels are launched one by one.", error)

    def __call__(self) -> None:
        self._replay()
        self._num_launched += 1
        if self._num_launched % LEAD == 0:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self._device))
            self._events.append(event)
            if len(self._events) > 1:
                self._events.popleft().synchronize()


def _warm_up(step: Callable[[], None], buffers: StepBuffers, stream: torch.cuda.Stream) -> None:
    """Run a step a few times on a stream of its own, as capturing requires, and return to the first position."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_STEPS):
            step()
            buffers.position.zero_()
    torch.cuda.current_stream().wait_stream(stream)
