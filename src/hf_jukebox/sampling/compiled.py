"""Compilation of sampling one code into one static graph."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, cast

import torch

from ..layers.fast_paths import has_plain_weights
from ..modeling_prior import DecodeState, JukeboxPrior
from .batch import SampleCode, sample_code
from .options import SamplingSettings

logger = logging.getLogger(__name__)

# Compute the input of a linear layer once instead of per output; fuse products and sums into one instruction.
_CPU_OPTIONS = {"realize_acc_reads_threshold": 3, "cpp.enable_floating_point_contract_flag": "fast"}
_CUDA_OPTIONS = {"triton.cudagraphs": True}


@dataclass
class StepCompiler:
    """Compiled `sample_code`, compiled anew for each prior, batch size and settings, with a log line about the time.

    The compiled step may hold a copy of the weights: a prior whose weights change needs a new StepCompiler.

    Raises:
        OSError: there is nothing but a CPU, and no C++ compiler, which it needs there.
    """

    _compiled: dict[tuple[Any, ...], SampleCode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not torch.accelerator.is_available():
            check_compiler()

    def __call__(
        self,
        prior: JukeboxPrior,
        state: DecodeState,
        previous: torch.Tensor,
        position: torch.Tensor,
        noise: torch.Tensor,
        settings: SamplingSettings,
    ) -> torch.Tensor:
        """See `sample_code`.

        Raises:
            OSError: the step is to be compiled for a CPU, and there is no C++ compiler.
        """
        on_gpu = previous.device.type == "cuda"
        key = (prior, prior.transformer.dtype, previous.device, state.batch_size, settings)
        step = self._compiled.get(key)
        if step is None:
            if previous.device.type == "cpu":
                check_compiler()
            step = self._compiled[key] = _compile(f"sample_code_{len(self._compiled)}", on_gpu)
            songs = "1 song" if state.batch_size == 1 else f"{state.batch_size} songs"
            logger.warning("Compiling the decode step of level %d for %s at a time.", prior.config.level, songs)
            started = time.monotonic()
            # Products of several rows are twice as fast on weights in oneDNN's own layout, which freezing makes.
            several_rows = not on_gpu and state.batch_size > 1 and has_plain_weights(prior.transformer)
            with torch._inductor.config.patch(freezing=several_rows):
                codes = step(prior, state, previous, position, noise, settings)
                codes.tolist()  # wait for the device
            logger.warning("Compiled it in %.1f s.", time.monotonic() - started)
            return codes.clone()
        if on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
            return step(prior, state, previous, position, noise, settings).clone()  # the graph reuses its output
        return step(prior, state, previous, position, noise, settings)


def check_compiler() -> None:
    """Refuse to compile for a CPU without the compiler that torch.compile would call.

    Raises:
        OSError: there is none.
    """
    names = [name for name in torch._inductor.config.cpp.cxx if name] if sys.platform != "win32" else ["cl"]
    if not any(map(shutil.which, names)):
        raise OSError(
            f"Compiling the decode step needs a C++ compiler ({' or '.join(names)}), and there is none; install one, "
            "such as g++, name it in the environment variable CXX, or sample without compiling."
        )


def _compile(name: str, on_gpu: bool) -> SampleCode:
    """Compile `sample_code` for one case.

    torch.compile distinguishes cases by guards, which on a CPU take a tenth of a step. We drop them: each case gets its
    own code object, which torch.compile uses as its cache key.
    """
    function = FunctionType(sample_code.__code__.replace(co_name=name), sample_code.__globals__, name)
    options: dict[str, Any] = dict(_CUDA_OPTIONS if on_gpu else _CPU_OPTIONS)
    options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    return cast(SampleCode, torch.compile(function, fullgraph=True, dynamic=False, options=options))
