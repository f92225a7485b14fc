"""The kernels of a step do what its operators do, by Triton's interpreter, and compile for GPUs that are not here."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
import triton
from helpers.random_priors import random_prior, randomize
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig
from hf_jukebox.layers import batch_kernel, fused_cuda, fused_cuda_batch, step_kernels
from hf_jukebox.layers.attention import StepPosition
from hf_jukebox.layers.fused_cuda import fuse, read_blocks
from hf_jukebox.layers.fused_cuda_batch import fuse_batch, read_batch_blocks
from hf_jukebox.layers.transformer import Transformer

TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.int8: "*i8", torch.int32: "*i32", torch.int64: "*i64"}


def test_a_step_of_the_kernels_is_that_of_the_operators_and_a_row_does_not_depend_on_others() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "helpers.interpreted_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout.splitlines()[-1])
    assert len(cases) == 13
    for name, case in cases.items():
        assert case["difference"] < (1e-2 if "float16" in name else 1e-5), name
        assert case["same alone"], name


def test_the_operators_run_where_the_kernels_cannot() -> None:
    transformer = random_prior("folded").transformer
    assert fuse(transformer, transformer.init_caches(1, torch.device("cpu"))) is None


class TracedError(Exception):
    pass


@pytest.mark.parametrize("songs", [1, 3])
def test_a_step_by_the_kernels_is_traced_as_one_graph(songs: int) -> None:
    prior, graphs = random_prior("folded"), list[torch.fx.GraphModule]()
    state = prior.init_state(songs)
    read = read_blocks(prior.transformer), read_batch_blocks(prior.transformer, state.caches)
    state.fused = read[songs > 1]

    def stop(*_: Any) -> None:
        raise TracedError

    def record(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., None]:
        graphs.append(graph)
        return stop

    step = torch.compile(prior.step, backend=record, fullgraph=True)
    with torch.inference_mode(), pytest.raises(TracedError):
        step(state, torch.zeros(songs, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    (graph,) = graphs
    calls = [node for node in graph.graph.nodes if "hf_jukebox" in str(node.target)]
    assert len(calls) == (prior.config.num_hidden_layers if songs == 1 else 1)


class Compiler:
    """Stands in for a kernel, and compiles each variant that is launched for a GPU that need not be there."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel, self.capability, self.compiled = kernel, capability, set[str]()
        self.shared_memory = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return self.compile

    def compile(self, *arguments: Any, num_warps: int, **constants: Any) -> None:
        signature = dict.fromkeys(self.kernel.arg_names, "constexpr")
        is_early = "IS_EARLY" in constants and self.capability >= 90
        options = {name: constants.pop(name) for name in ("num_stages", "launch_cooperative_grid") if name in constants}
        if "IS_EARLY" in constants:
            constants["IS_EARLY"] = is_early
        for name, argument in zip(self.kernel.arg_names, arguments, strict=False):
            if isinstance(argument, torch.Tensor):
                signature[name] = TYPES[argument.dtype]
            elif isinstance(argument, float):
                signature[name] = "fp32"
            elif name in ("first_block", "end_block"):
                signature[name] = "i32"
            else:
                constants[name] = argument
        key = f"{signature} {constants}"
        if key not in self.compiled:
            pointers = [index for index, type_ in enumerate(signature.values()) if type_.startswith("*")]
            aligned = {(index,): [["tt.divisibility", 16]] for index in pointers}
            source = ASTSource(self.kernel, signature, constants, aligned)
            options |= {"num_warps": num_warps} | ({"launch_pdl": True} if is_early else {})
            compiled = triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options)
            self.shared_memory = max(self.shared_memory, compiled.metadata.shared)
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


def test_the_kernel_of_a_batch_compiles_for_the_published_upsampler() -> None:
    """It also takes no more shared memory than is asked of a GPU."""
    compiler = Compiler(batch_kernel.blocks_step, 90)
    rows, width, state, mlp_width = 16, 1920, 480, 1920
    half, integers = torch.zeros(1, dtype=torch.float16), torch.zeros(1, dtype=torch.long)
    tensors = (half, half, half, half.float(), half, half, integers, integers, integers.int())
    sizes = {"ROWS": rows, "PADDED_ROWS": rows, "WIDTH": width, "STATE": state, "MLP_WIDTH": mlp_width}
    constants = {"PROGRAMS": 132, "IS_SCALED": False, "PHASE": -1, "num_warps": batch_kernel.WARPS, "num_stages": 1}
    compiler.compile(*tensors, 0, 72, 1e-5, 1.0, **sizes, **constants, launch_cooperative_grid=True)
    assert 0 < compiler.shared_memory <= fused_cuda_batch._SHARED_MEMORY


def transformer_of(preset: str) -> Transformer:
    with torch.device("meta"):
        return JukeboxPrior(JukeboxPriorConfig.from_preset(preset)).transformer.half()


@pytest.mark.parametrize(
    ("preset", "rows", "gpu", "can_be_run"),
    [
        ("upsampler_level_0", 16, {}, True),
        ("upsampler_level_1", 3, {}, True),
        ("upsampler_level_0", 16, {"multi_processor_count": 114}, False),
        ("upsampler_level_0", 16, {"major": 8}, False),
        ("upsampler_level_0", 16, {"shared_memory_per_block_optin": 101376}, False),
        ("prior_1b_lyrics", 3, {}, False),
        ("prior_5b_lyrics", 3, {}, False),
    ],
)
def test_the_kernel_of_a_batch_runs_what_fits_into_its_programs(
    preset: str, rows: int, gpu: dict[str, int], can_be_run: bool
) -> None:
    h100 = {"major": 9, "minor": 0, "multi_processor_count": 132, "shared_memory_per_block_optin": 232448}
    properties = SimpleNamespace(**(h100 | gpu))
    with mock.patch("torch.cuda.get_device_properties", return_value=properties):
        assert fused_cuda_batch._has_room(transformer_of(preset), rows, torch.device("cuda")) == can_be_run


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_batch_by_the_kernel_on_a_gpu_is_that_of_the_operators_and_a_row_does_not_depend_on_others(
    dtype: torch.dtype,
) -> None:
    shape = {"num_hidden_layers": 6, "alignment_layer": None, "alignment_head": None}
    with torch.device("cuda"):
        prior = JukeboxPrior(JukeboxPriorConfig.from_preset("upsampler_level_0", **shape)).eval()
    randomize(prior)
    exact, halved = prior.transformer, copy.deepcopy(prior.transformer).to(dtype)
    caches = [cache.normal_() for cache in halved.init_caches(16, torch.device("cuda"))]
    fused = fuse_batch(halved, caches)
    assert fused is not None
    index = torch.arange(exact.shape.attention.positions, device="cuda")[None]
    with torch.inference_mode():
        for position in (0, 130, 8191):
            at = StepPosition.at(torch.full((1,), position, device="cuda"), index, exact.shape.attention)
            x = torch.randn(16, 1, exact.shape.attention.width, device="cuda")
            some = [cache[:, 3:6].clone() for cache in caches]
            expected = exact.step(x, at, [cache.float() for cache in caches])
            operators = halved.step(x, at, [cache.clone() for cache in caches])
            together = halved.step(x, at, caches, fused)
            apart = halved.step(x[3:6], at, some, fuse_batch(halved, some))
            assert torch.equal(apart, together[3:6])
            assert all(torch.equal(a, b[:, 3:6]) for a, b in zip(some, caches, strict=True))
            assert (together - expected).norm() < 1.2 * (operators - expected).norm()
