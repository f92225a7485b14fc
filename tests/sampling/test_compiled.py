"""The compiled decode step samples the codes of the eager one."""

import logging
import sys

import pytest
import torch
import torch._inductor.config
from helpers.tiny import tiny_pipeline, tiny_prior

from hf_jukebox.layers import transformer
from hf_jukebox.sampling.compiled import check_can_compile
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes
from hf_jukebox.sampling.step_runner import StepRunner


def sampled(steps: StepRunner | None, batch: int, total: int) -> torch.Tensor:
    upper = torch.randint(64, (batch, total // 4), generator=torch.Generator().manual_seed(0))
    greedy = SamplingSettings(1.0, top_k=1)
    return sample_codes(tiny_prior("tiny_upsampler"), total, upper_codes=upper, settings=greedy, steps=steps)


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


def test_no_kernel_is_chosen_by_its_time_whatever_the_environment_says(monkeypatch):
    """A resumed run would otherwise add in another order than the run before."""
    given = {}

    def compile(function, options, **others):
        given.update(options)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr("hf_jukebox.sampling.step_runner.check_can_compile", lambda device: None)
    with torch._inductor.config.patch(max_autotune=True, coordinate_descent_tuning=True):
        sampled(StepRunner(compiled=True), 1, 8)
    assert given["max_autotune"] is given["max_autotune_gemm"] is given["coordinate_descent_tuning"] is False
