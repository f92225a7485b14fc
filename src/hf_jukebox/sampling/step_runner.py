"""Steps ready to be repeated: the tensors of a prior's windows, and what runs one step on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from ..layers import fused_cpu, fused_cuda
from ..modeling_prior import DecodeState, JukeboxPrior
from .compiled import CompiledStep, check_can_compile, compile_step
from .options import SamplingSettings
from .step import StepBuffers, sample_code
from .step_graph import StepGraph, can_be_captured
from .step_size import SIZES, StepSize

logger = logging.getLogger(__name__)


@dataclass
class ReadyStep:
    """A step of one prior and batch size, with the tensors that it reads and writes.

    Attributes:
        state: State of the prior's window.
        buffers: Everything else that a step reads and writes.
        run: Samples the next codes of every row, and returns how many: one, unless there are guesses. On CUDA it
            returns before the code is sampled.
    """

    state: DecodeState
    buffers: StepBuffers
    run: Callable[[], int]


@dataclass
class StepRunner:
    """Source of the steps that a sampler repeats.

    On CUDA a step is captured as a graph once per prior, batch size and filters, and replayed for every window, song
    and temperature. Elsewhere its operators run one by one. Only the step asked for last is kept, since its tensors
    may take most of the memory.

    Args:
        compiled: Compile steps, once per prior, batch size and filters. A compiled step may hold a copy of the weights:
            a prior whose weights change needs a new StepRunner.
        sizes: How many codes a step of one song may try to sample, in ascending order, where that changes none of them:
            compiled, on a CPU.

    Raises:
        OSError: `compiled`, and the compiler that the device needs is missing.
    """

    compiled: bool = False
    sizes: Sequence[int] = SIZES
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
        return {"compiled": self.compiled, "sizes": self.sizes, "_compiled_steps": {}, "_ready": {}}

    def _prepare(
        self,
        prior: JukeboxPrior,
        batch_size: int,
        filters: SamplingSettings,
        is_guarded: bool,
        key: tuple[Any, ...],
    ) -> ReadyStep:
        state, can_be_graph, most_codes = prior.init_state(batch_size), can_be_captured(prior), 1
        if self.compiled:
            check_can_compile(prior.position_embedding.device)
            most_codes = self._fuse(prior, state, can_be_graph, is_guarded)
        buffers = StepBuffers.allocate(prior, batch_size, is_guarded, most_codes)

        def step_on(buffers: StepBuffers) -> Callable[[], None]:
            tensors = (prior, state, buffers, filters)
            if not self.compiled:
                return partial(sample_code, *tensors)
            return self._compile(*tensors, (*key, buffers.guesses is not None)).repeat_on(*tensors)

        step = step_on(replace(buffers, guesses=None))
        if buffers.guesses is not None:
            run = _run_guessing(step, step_on(buffers), buffers, StepSize(self.sizes))
        else:
            run = _run_once(StepGraph(step, buffers) if can_be_graph else step)
        return ReadyStep(state, buffers, run)

    def _fuse(self, prior: JukeboxPrior, state: DecodeState, can_be_graph: bool, is_guarded: bool) -> int:
        """Let kernels written by hand run the blocks, where there are some; return the most codes of a step."""
        if can_be_graph:
            state.fused = fused_cuda.fuse(prior.transformer, state.caches)
            return 1
        # A row of these kernels does not depend on the others, so a step of several codes samples those of single ones.
        most = self.sizes[-1] if state.batch_size == 1 and not is_guarded else 1
        state.fused = fused_cpu.fuse(prior.transformer, state.batch_size * most)
        return 1 if state.fused is None else most

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
            codes = "" if buffers.guesses is None else ", several codes a step"
            logger.warning(
                "Compiling the decode step of level %d for %s at a time%s.", prior.config.level, songs, codes
            )
            started = time.monotonic()
            step = compile_step(f"sample_code_{len(self._compiled_steps)}", prior, state, buffers, filters)
            logger.warning("Compiled it in %.1f s.", time.monotonic() - started)
            self._compiled_steps[key] = step
        return self._compiled_steps[key]


def _run_once(step: Callable[[], None]) -> Callable[[], int]:
    """Return a function that samples one code."""

    def run() -> int:
        step()
        return 1

    return run


def _run_guessing(
    one_code: Callable[[], None], guessed_codes: Callable[[], None], buffers: StepBuffers, size: StepSize
) -> Callable[[], int]:
    """Return a function that samples as many codes as are guessed right, and one more."""

    def run() -> int:
        assert buffers.guesses is not None
        before, count = int(buffers.position), size.current()
        buffers.guesses.count.fill_(count)
        started = time.perf_counter()
        (one_code if count == 1 else guessed_codes)()
        num_sampled = int(buffers.position) - before
        size.took(time.perf_counter() - started, num_sampled)
        return num_sampled

    return run
