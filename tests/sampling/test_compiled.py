"""The compiled decode step samples the codes of the eager one."""

import logging
import sys
from collections import deque

import pytest
import torch
import torch._inductor.config
from helpers.failing_compiler import failing_compiler
from helpers.one_block import convert_layers
from helpers.tiny import tiny_pipeline, tiny_prior

from hf_jukebox import JukeboxPrior
from hf_jukebox.layers import transformer
from hf_jukebox.layers.fused_cpu import fuse
from hf_jukebox.sampling.batch import BatchSampler, BatchTask, Snapshot
from hf_jukebox.sampling.compiled import check_can_compile
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes
from hf_jukebox.sampling.step_runner import StepRunner


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
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_on_a_cpu_compiled_codes_depend_on_neither_groups_nor_threads(precision):
    """In half precision too. Two windows, so that the second one has a context."""
    prior, steps, threads = (
        tiny_prior("tiny_upsampler", hidden_size=64),
        StepRunner(compiled=True),
        torch.get_num_threads(),
    )
    convert_layers(prior.transformer, precision)
    upper = torch.randint(64, (9, 24), generator=torch.Generator().manual_seed(0))

    def codes(rows: slice) -> torch.Tensor:
        noise = torch.rand(9, 96, generator=torch.Generator().manual_seed(1))[rows]
        found = torch.zeros(noise.shape, dtype=torch.long)
        task = BatchTask(found, [0] * len(noise), 32, noise, SamplingSettings(), upper[rows])
        deque(BatchSampler(prior, task, steps=steps), maxlen=0)
        return found

    together = codes(slice(0, 9))
    try:
        torch.set_num_threads(2)
        for rows in (slice(0, 1), slice(1, 4), slice(4, 9)):
            assert torch.equal(codes(rows), together[rows])
    finally:
        torch.set_num_threads(threads)
    assert len(together.unique()) > 20
    eager = sample_codes(prior, 96, upper_codes=upper[:1], settings=SamplingSettings(1.0, top_k=1))
    greedy = sample_codes(prior, 96, upper_codes=upper[:1], settings=SamplingSettings(1.0, top_k=1), steps=steps)
    assert (greedy == eager).float().mean() > (0.8 if precision == "bfloat16" else 0.999)


@pytest.mark.compiler
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_cpu_compiled_codes_do_not_depend_on_the_prompts_of_other_rows(precision):
    """A prompt is prefilled in one pass, not stepped through, though a batch begins at the end of the shortest."""
    prior, steps = tiny_prior("tiny_upsampler", hidden_size=64), StepRunner(compiled=True)
    convert_layers(prior.transformer, precision)
    generator = torch.Generator().manual_seed(0)
    upper, prompts = (torch.randint(64, (6, n), generator=generator) for n in (24, 96))
    noise, given = torch.rand(6, 96, generator=generator), [70, 5, 40, 96, 33, 64]

    def sampler(rows: list[int], snapshot: Snapshot | None = None) -> BatchSampler:
        lengths = [given[row] for row in rows]
        known = torch.arange(96) < torch.tensor(lengths)[:, None]
        task = BatchTask(prompts[rows] * known, lengths, 32, noise[rows], SamplingSettings(), upper[rows])
        return BatchSampler(prior, task, snapshot, steps)

    def finished(batch: BatchSampler) -> torch.Tensor:
        deque(batch, maxlen=0)
        return batch.task.codes

    together = finished(sampler([0, 1, 2, 3, 4, 5]))
    for row in range(6):
        assert torch.equal(finished(sampler([row])), together[[row]])
    batch = sampler([0, 1, 2, 3, 4, 5])
    snapshots = {filled: batch.snapshot() for filled in batch if filled in (20, 33, 40, 70)}
    for snapshot in snapshots.values():  # a batch that is resumed, whole or in parts
        for rows in ([0, 1, 2, 3, 4, 5], [0, 5], [2]):
            assert torch.equal(finished(sampler(rows, snapshot[rows])), together[rows])


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


@pytest.mark.compiler
def test_a_compiler_that_fails_is_quoted_in_one_sentence(tmp_path):
    """As Clang does without the headers of its OpenMP."""
    complaint = "a.h:4:10: fatal error: 'omp.h' file not found"
    with failing_compiler(tmp_path, complaint, "*pp*") as compiler, pytest.raises(OSError) as refused:
        sampled(StepRunner(compiled=True), 1, 8)
    torch._dynamo.reset()
    assert f"the C++ compiler {compiler} says: 'omp.h' file not found; install what is missing" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def given(monkeypatch):
    """Settings that the compiler is given, which then compiles nothing."""
    settings = {}

    def compile(graph, inputs, config_patches):
        settings.update(config_patches)
        return graph

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", compile)
    monkeypatch.setattr("hf_jukebox.sampling.step_runner.check_can_compile", lambda device: None)
    monkeypatch.setattr("hf_jukebox.layers.fused_cpu.fuse", lambda transformer, rows: None)
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


@pytest.mark.compiler
def test_what_is_generated_around_the_kernels_has_no_threads_that_wait_for_each_other(given, monkeypatch):
    sampled(StepRunner(compiled=True), 1, 8)
    assert "cpp.threads" not in given  # all of it is generated
    monkeypatch.setattr("hf_jukebox.layers.fused_cpu.fuse", fuse)
    sampled(StepRunner(compiled=True), 1, 8)
    assert given["cpp.threads"] == 1


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
