"""Compilation of a step into one static graph."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, cast

import torch
from torch.utils._triton import has_triton

from ..hardware import vector_bits
from ..layers.fused_cpu import complaint
from ..modeling_prior import DecodeState, JukeboxPrior
from .options import SamplingSettings
from .step import StepBuffers, sample_code

# Compute the input of a linear layer once instead of per output; fuse products and sums into one instruction; check no
# shapes, since every call has those that the step was compiled for.
_CPU_OPTIONS = {
    "realize_acc_reads_threshold": 3,
    "cpp.enable_floating_point_contract_flag": "fast",
    "size_asserts": False,
}

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


class CompiledStep:
    """`sample_code`, compiled for one prior and batch size, as code that is repeated on the same tensors.

    At each call torch.compile checks guards, and looks up every weight by the names of its modules, which takes a
    noticeable part of a step on a CPU. So each case gets a code object of its own, which torch.compile uses as its
    cache key, and no guards; and `repeat_on` looks everything up once.

    Args:
        name: Name of the code object.
        options: Settings of the compiler.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        function = FunctionType(sample_code.__code__.replace(co_name=name), sample_code.__globals__, name)
        no_guards: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
        self._options = options
        self._call = torch.compile(function, backend=self._compile, fullgraph=True, dynamic=False, options=no_guards)
        self._last_call: Callable[[], None] | None = None

    def repeat_on(
        self, prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings
    ) -> Callable[[], None]:
        """Return a function that samples one code of every row of these tensors."""
        repeat: Callable[[], None] | None = None

        def run() -> None:
            nonlocal repeat
            if repeat is not None:
                return repeat()
            self._call(prior, state, buffers, settings)
            repeat, self._last_call = self._last_call, None

        return run

    def _compile(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """Compile a graph, as a function that also keeps its call, to be repeated."""
        from torch._inductor.compile_fx import compile_fx

        compiled = cast(Callable[..., Any], compile_fx(graph, inputs, config_patches=self._options))

        def call(*tensors: torch.Tensor) -> Any:
            self._last_call = partial(compiled, *tensors)
            return compiled(*tensors)

        return call


def compile_step(
    name: str, prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings
) -> CompiledStep:
    """Compile `sample_code` for one case, under a name of its own, by running it once on these tensors.

    Raises:
        OSError: the C++ compiler fails.
    """
    options: dict[str, Any] = dict(_FIXED_KERNELS)
    if buffers.position.device.type == "cpu":
        # PyTorch looks compiled code up by the settings, but not by the instructions: code for AVX2 that is compiled
        # anew for AVX-512 writes beyond its arrays.
        options |= _CPU_OPTIONS | {"cpp.simdlen": vector_bits()}
        if state.fused is not None:
            # Little is left to generate; threads would wait for each other where another program takes a core.
            options["cpp.threads"] = 1
    step = CompiledStep(name, options)
    try:
        with torch.inference_mode():
            step.repeat_on(prior, state, buffers, settings)()
            buffers.position.zero_()
    except Exception as error:
        from torch._inductor.exc import CppCompileError

        cause = getattr(error, "inner_exception", error)  # which torch.compile wraps
        if not isinstance(cause, CppCompileError):
            raise
        raise OSError(
            f"Compiling the decode step failed: the C++ compiler {cause.cmd[0]} says: {complaint(cause.output)}; "
            "install what is missing or another compiler, such as g++, name it in the environment variable CXX, or "
            "sample without compiling."
        ) from error
    return step
