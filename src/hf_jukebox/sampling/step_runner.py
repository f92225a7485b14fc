"""Steps ready to be repeated: the tensors of a prior's windows, and what runs one step on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from ..layers import fused_cpu, fused_cuda
from ..layers.transformer import FusedSteps, Transformer
from ..modeling_prior import DecodeState, JukeboxPrior
from .compiled import CompiledStep, check_can_compile, compile_step
from .options import SamplingSettings
from .step import StepBuffers, sample_code
from .step_graph import StepGraph, can_be_captured

logger = logging.getLogger(__name__)


@dataclass
class ReadyStep:
    """A step of one prior and batch size, with the tensors that it reads and writes.

    Attributes:
        state: State of the prior's window.
        buffers: Everything else that a step reads and writes.
        run: Samples one code of every row. On CUDA it returns before the code is sampled.
    """

    state: DecodeState
    buffers: StepBuffers
    run: Callable[[], None]


@dataclass
class StepRunner:
    """Source of the steps that a sampler repeats.

    On CUDA a step is captured as a graph once per prior, batch size and filters, and replayed for every window, song
    and temperature. Elsewhere its operators run one by one. Only the step asked for last is kept, since its tensors
    may take most of the memory.

    Args:
        compiled: Compile steps, once per prior, batch size and filters. A compiled step may hold a copy of the weights:
            a prior whose weights change needs a new StepRunner.

    Raises:
        OSError: `compiled`, and the compiler that the device needs is missing.
    """

    compiled: bool = False
    _compiled_steps: dict[tuple[Any, ...], CompiledStep] = field(default_factory=dict)
    _ready: dict[tuple[Any, ...], ReadyStep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.compiled:
            check_can_compile(torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu"))

    def get(
        self, prior: JukeboxPrior, batch_size: int, settings: SamplingSettings, is_guarded: bool = False
    ) -> ReadyStep:
        """Return the step of a prior for `batch_size` rows; its tensors may hold those of an earlier window.

        Args:
            is_guarded: Make a step that excludes codes.

        Raises:
            OSError: the step is to be compiled, and the compiler that the device needs is missing.
        """
        filters = replace(settings, temperature=1.0)  # the temperature is one of the buffers
        device = prior.position_embedding.device
        key = (prior, prior.transformer.dtype, device, batch_size, filters, is_guarded)
        if key not in self._ready:
            self.release()
            self._ready[key] = self._prepare(prior, batch_size, filters, is_guarded, key)
        return self._ready[key]

    def release(self) -> None:
        """Free the tensors and the graph of the last step; what was compiled is kept."""
        self._ready.clear()

    def __getstate__(self) -> dict[str, Any]:
        # Neither graphs nor compiled functions can be copied; a copy makes them again.
        return {"compiled": self.compiled, "_compiled_steps": {}, "_ready": {}}

    def _prepare(
        self,
        prior: JukeboxPrior,
        batch_size: int,
        filters: SamplingSettings,
        is_guarded: bool,
        key: tuple[Any, ...],
    ) -> ReadyStep:
        state, buffers = prior.init_state(batch_size), StepBuffers.allocate(prior, batch_size, is_guarded)
        can_be_graph = can_be_captured(prior)
        if self.compiled:
            check_can_compile(buffers.position.device)
            state.fused = _fuse(prior.transformer, state, can_be_graph)
        tensors = (prior, state, buffers, filters)
        run = self._compile(*tensors, key).repeat_on(*tensors) if self.compiled else partial(sample_code, *tensors)
        return ReadyStep(state, buffers, StepGraph(run, buffers) if can_be_graph else run)

    def _compile(
        self,
        prior: JukeboxPrior,
        state: DecodeState,
        buffers: StepBuffers,
        filters: SamplingSettings,
        key: tuple[Any, ...],
    ) -> CompiledStep:
        """Return the compiled step of a case; the first time, compile it by running it on empty tensors."""
        if key not in self._compiled_steps:
            songs = "1 song" if state.batch_size == 1 else f"{state.batch_size} songs"
            logger.warning("Compiling the decode step of level %d for %s at a time.", prior.config.level, songs)
            started = time.monotonic()
            step = compile_step(f"sample_code_{len(self._compiled_steps)}", prior, state, buffers, filters)
            logger.warning("Compiled it in %.1f s.", time.monotonic() - started)
            self._compiled_steps[key] = step
        return self._compiled_steps[key]


def _fuse(transformer: Transformer, state: DecodeState, can_be_graph: bool) -> FusedSteps | None:
    """Return the blocks as kernels written by hand, where there are some for the device and these weights."""
    if can_be_graph:
        return fused_cuda.fuse(transformer, state.caches)
    return fused_cpu.fuse(transformer, state.batch_size)
