"""The compiled decode step samples the codes of the eager one."""

import json
import logging
import os
import subprocess
import sys

import pytest
import torch
import torch._inductor.config
from helpers.tiny import tiny_pipeline, tiny_prior

from hf_jukebox import JukeboxPrior
from hf_jukebox.layers import transformer
from hf_jukebox.sampling.compiled import check_can_compile
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes
from hf_jukebox.sampling.step_runner import StepRunner

# Compiled greedy codes of nine songs, and the share of them that is equal to the eager ones, in each precision.
SEVERAL_SONGS = """
import json

import torch
from helpers.tiny import tiny_prior
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes
from hf_jukebox.sampling.step_runner import StepRunner
from torchao.quantization import Int8WeightOnlyConfig, quantize_

upper = torch.randint(64, (9, 16), generator=torch.Generator().manual_seed(0))
equal = {}
for precision in ("float32", "bfloat16", "int8"):
    prior = tiny_prior("tiny_upsampler", hidden_size=64)
    blocks = prior.transformer.blocks
    if precision == "int8":
        quantize_(blocks, Int8WeightOnlyConfig())
    else:
        for layer in blocks.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.to(getattr(torch, precision))
    greedy = {"upper_codes": upper, "settings": SamplingSettings(1.0, top_k=1)}
    compiled, eager = (sample_codes(prior, 64, steps=steps, **greedy) for steps in (StepRunner(compiled=True), None))
    equal[precision] = (compiled == eager).float().mean().item()
print(json.dumps(equal))
"""


def sampled(steps: StepRunner | None, batch: int, total: int, prior: JukeboxPrior | None = None) -> torch.Tensor:
    upper = torch.randint(64, (batch, total // 4), generator=torch.Generator().manual_seed(0))
    greedy = SamplingSettings(1.0, top_k=1)
    return sample_codes(prior or tiny_prior("tiny_upsampler"), total, upper_codes=upper, settings=greedy, steps=steps)


@pytest.mark.compiler
def test_compiled_codes_are_the_eager_ones_whatever_the_batch_and_the_length(caplog):
    step = StepRunner(compiled=True)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(sampled(step, 1, 80), sampled(None, 1, 80))
    assert "Compiling the decode step of level 0 for 1 song" in caplog.text and " s." in caplog.text
    assert torch.equal(sampled(step, 2, 80), sampled(None, 2, 80))
    assert torch.equal(sampled(step, 2, 72), sampled(None, 2, 72))


@pytest.mark.compiler
def test_blocks_that_are_compiled_once_sample_the_eager_codes(monkeypatch):
    """As for CUDA, on a CPU: the blocks of each kind share one compiled region."""
    expected = sampled(None, 1, 80)
    monkeypatch.setattr(transformer, "_step_block", transformer._step_compiled_block)
    assert torch.equal(sampled(StepRunner(compiled=True), 1, 80), expected)


@pytest.mark.compiler
def test_codes_of_several_songs_are_the_eager_ones_without_avx_512():
    """In a process of its own, since PyTorch reads once which instructions to use."""
    paths = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {
        "PYTHONPATH": paths,
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }
    result = subprocess.run(
        [sys.executable, "-c", SEVERAL_SONGS], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    equal = json.loads(result.stdout)
    assert equal["float32"] == 1
    assert min(equal["bfloat16"], equal["int8"]) > 0.8  # sums are rounded to bfloat16 at other places


def test_compiling_for_cuda_without_triton_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("hf_jukebox.sampling.compiled.has_triton", lambda: False)
    with pytest.raises(OSError, match="needs Triton"):
        check_can_compile(torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    with pytest.raises(OSError, match="needs Triton"):
        tiny_pipeline().compile()


def test_without_a_compiler_one_sentence_says_so_before_anything_is_sampled(monkeypatch, tmp_path):
    with torch._inductor.config.patch({"cpp.cxx": (None, sys.executable)}):
        step = StepRunner(compiled=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with torch._inductor.config.patch({"cpp.cxx": (None, "g++")}):
        for refused in (lambda: check_can_compile(torch.device("cpu")), lambda: sampled(step, 1, 80)):
            with pytest.raises(OSError, match=r"needs a C\+\+ compiler \(g\+\+\), and there is none; install one"):
                refused()


@pytest.fixture
def given(monkeypatch):
    """Settings that the compiler is given, which then compiles nothing."""
    settings = {}

    def compile(graph, inputs, config_patches):
        settings.update(config_patches)
        return graph

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", compile)
    monkeypatch.setattr("hf_jukebox.sampling.step_runner.check_can_compile", lambda device: None)
    return settings


def test_no_kernel_is_chosen_by_its_time_whatever_the_environment_says(given):
    """A resumed run would otherwise add in another order than the run before."""
    with torch._inductor.config.patch(max_autotune=True, coordinate_descent_tuning=True):
        sampled(StepRunner(compiled=True), 1, 8)
    assert given["max_autotune"] is given["max_autotune_gemm"] is given["coordinate_descent_tuning"] is False


@pytest.mark.parametrize(("capability", "bits"), [("AVX2", 256), ("AVX512", 512), ("DEFAULT", None)])
def test_code_for_other_instructions_is_not_found_by_the_settings_of_these(given, monkeypatch, capability, bits):
    """Compiled anew for longer vectors, code for shorter ones writes beyond its arrays."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    sampled(StepRunner(compiled=True), 2, 8)
    assert given["cpp.simdlen"] == bits
    assert given["max_autotune_gemm"] is (bits is not None)
    assert given["max_autotune_gemm_backends" if bits else "max_autotune"] == ("CPP" if bits else False)


def test_a_step_is_repeated_on_the_tensors_of_each_window_without_looking_them_up_again(given, monkeypatch):
    num_calls = 0
    step = JukeboxPrior.step

    def counted(*arguments):
        nonlocal num_calls
        num_calls += 1
        return step(*arguments)

    steps, prior = StepRunner(compiled=True), tiny_prior("tiny_upsampler")
    first = sampled(steps, 2, 80, prior)  # two windows
    assert torch.equal(first, sampled(None, 2, 80))
    steps.release()  # the next window has tensors of its own
    monkeypatch.setattr(JukeboxPrior, "step", counted)
    assert torch.equal(sampled(steps, 2, 80, prior), first)
    assert num_calls == 0
