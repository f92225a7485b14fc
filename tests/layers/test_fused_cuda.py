"""The kernels of a step do what its operators do, by Triton's interpreter, and compile for GPUs that are not here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import triton
from helpers.random_priors import random_prior
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.layers import fused_cuda, step_kernels
from hf_jukebox.layers.attention import StepPosition
from hf_jukebox.layers.fused_cuda import fuse, read_blocks

TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.int8: "*i8", torch.int64: "*i64"}


def test_a_step_of_the_kernels_is_that_of_the_operators_and_a_row_does_not_depend_on_others() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "helpers.interpreted_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout.splitlines()[-1])
    assert len(cases) == 10
    for name, case in cases.items():
        assert case["difference"] < (1e-2 if "float16" in name else 1e-5), name
        assert case["same alone"], name


def test_the_operators_run_where_the_kernels_cannot() -> None:
    assert fuse(random_prior("folded").transformer, 1) is None  # on a CPU


class TracedError(Exception):
    pass


def test_a_step_by_the_kernels_is_traced_as_one_graph() -> None:
    prior, graphs = random_prior("folded"), list[torch.fx.GraphModule]()
    state = prior.init_state(1)
    state.fused = read_blocks(prior.transformer)

    def stop(*_: Any) -> None:
        raise TracedError

    def record(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., None]:
        graphs.append(graph)
        return stop

    step = torch.compile(prior.step, backend=record, fullgraph=True)
    with torch.inference_mode(), pytest.raises(TracedError):
        step(state, torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    (graph,) = graphs
    calls = [node for node in graph.graph.nodes if "fused_block_step" in str(node.target)]
    assert len(calls) == prior.config.num_hidden_layers


class Compiler:
    """Stands in for a kernel, and compiles each variant that is launched for a GPU that need not be there."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel, self.capability, self.compiled = kernel, capability, set[str]()

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self.compile

    def compile(self, *arguments: Any, num_warps: int, IS_EARLY: bool, **constants: Any) -> None:
        signature = dict.fromkeys(self.kernel.arg_names, "constexpr")
        constants["IS_EARLY"] = self.capability >= 90
        for name, argument in zip(self.kernel.arg_names, arguments, strict=False):
            if isinstance(argument, torch.Tensor):
                signature[name] = TYPES[argument.dtype]
            elif isinstance(argument, float):
                signature[name] = "fp32"
            else:
                constants[name] = argument
        key = f"{signature} {constants}"
        if key not in self.compiled:
            pointers = [index for index, type_ in enumerate(signature.values()) if type_.startswith("*")]
            aligned = {(index,): [["tt.divisibility", 16]] for index in pointers}
            source = ASTSource(self.kernel, signature, constants, aligned)
            options = {"num_warps": num_warps} | ({"launch_pdl": True} if constants["IS_EARLY"] else {})
            triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options)
            self.compiled.add(key)


def launch_blocks(preset: str, dtype: torch.dtype, rows: int) -> None:
    """Run the first block of each kind of a published prior on tensors without values."""
    with torch.device("meta"):
        transformer = JukeboxPrior(JukeboxPriorConfig.from_preset(preset)).transformer.to(dtype)
        position = torch.zeros(1, dtype=torch.long)
        index = torch.arange(transformer.shape.attention.positions)[None]
        x = torch.zeros(rows, 1, transformer.shape.attention.width, dtype=dtype)
    at = StepPosition.at(position, index, transformer.shape.attention)
    caches = transformer.init_caches(rows, torch.device("meta"))
    for layer in {kind: transformer.kinds.index(kind) for kind in transformer.kinds}.values():
        block = read_blocks(transformer).blocks[layer]
        keys = transformer.blocks[layer].attn.key_range(at)
        launch = fused_cuda._step._init_fn  # type: ignore[attr-defined]  # not the fake one that "meta" would run
        launch(
            x,
            caches[layer],
            block.weights,
            block.scales,
            block.biases,
            block.norms,
            keys.slot,
            keys.first,
            keys.last,
            keys.length,
            block.heads,
            block.eps,
            block.scale,
        )


@pytest.mark.parametrize(
    ("preset", "rows", "capability"),
    [
        ("upsampler_level_0", 1, 90),
        pytest.param("upsampler_level_0", 4, 80, marks=pytest.mark.slow),
        pytest.param("prior_1b_lyrics", 2, 90, marks=pytest.mark.slow),
        pytest.param("prior_5b_lyrics", 1, 90, marks=pytest.mark.slow),
    ],
)
def test_the_kernels_of_published_shapes_compile(
    preset: str, rows: int, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilers = {name: Compiler(getattr(step_kernels, name), capability) for name in ("linear", "attention")}
    for name, compiler in compilers.items():
        monkeypatch.setattr(step_kernels, name, compiler)
    launch_blocks(preset, torch.float16, rows)
    assert len(compilers["linear"].compiled) >= 4
    assert len(compilers["attention"].compiled) >= 3
