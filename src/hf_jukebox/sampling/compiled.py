"""Compilation of a step into one static graph."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import torch
from torch.utils._triton import has_triton

from ..layers.fast_paths import has_plain_weights
from ..modeling_prior import DecodeState, JukeboxPrior
from .options import SamplingSettings
from .step import StepBuffers, sample_code

CompiledStep = Callable[[JukeboxPrior, DecodeState, StepBuffers, SamplingSettings], None]

# Compute the input of a linear layer once instead of per output; fuse products and sums into one instruction.
_CPU_OPTIONS = {"realize_acc_reads_threshold": 3, "cpp.enable_floating_point_contract_flag": "fast"}

# A kernel that is chosen by timing may be another one in the process that resumes a run, and add in another order.
_FIXED_KERNELS = dict.fromkeys(
    ("max_autotune", "max_autotune_pointwise", "max_autotune_gemm", "coordinate_descent_tuning"), False
)


def check_can_compile(
    device: torch.device, what: str = "Compiling the decode step", instead: str = "sample without compiling"
) -> None:
    """Refuse to compile for a device without the compiler that torch.compile would call.

    Args:
        what, instead: For the message: what is compiled, and how to do without.

    Raises:
        OSError: it is missing.
    """
    if device.type == "cuda" and not has_triton():
        raise OSError(
            f"{what} for CUDA needs Triton and a GPU of compute capability 7.0 or newer; install triton, or {instead}."
        )
    if device.type != "cpu":
        return
    names = [name for name in torch._inductor.config.cpp.cxx if name] if sys.platform != "win32" else ["cl"]
    if not any(map(shutil.which, names)):
        raise OSError(
            f"{what} needs a C++ compiler ({' or '.join(names)}), and there is none; install one, such as g++, name it "
            f"in the environment variable CXX, or {instead}."
        )


def compile_step(
    name: str, prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings
) -> CompiledStep:
    """Compile `sample_code` for one case, under a name of its own, by running it once on these tensors.

    torch.compile distinguishes cases by guards, which on a CPU take a tenth of a step. We drop them: each case gets its
    own code object, which torch.compile uses as its cache key.
    """
    on_cpu = buffers.position.device.type == "cpu"
    function = FunctionType(sample_code.__code__.replace(co_name=name), sample_code.__globals__, name)
    options: dict[str, Any] = _FIXED_KERNELS | (_CPU_OPTIONS if on_cpu else {})
    options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
    step = cast(CompiledStep, torch.compile(function, fullgraph=True, dynamic=False, options=options))
    # Products of several rows are twice as fast on weights in oneDNN's own layout, which freezing makes.
    several_rows = on_cpu and state.batch_size > 1 and has_plain_weights(prior.transformer)
    with torch.inference_mode(), torch._inductor.config.patch(freezing=several_rows):
        step(prior, state, buffers, settings)
        buffers.position.zero_()
    return step
