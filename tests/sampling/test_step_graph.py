"""Rules that a step keeps so that it can be one CUDA graph, checked on a CPU by recording and repeating operators."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.pieces import sampled
from helpers.random_priors import CONFIGS, random_prior
from helpers.recorded_graphs import Event, capture_on_cpu
from helpers.tiny import codes_in_s, tiny_pipeline, tiny_prior
from torch._subclasses.fake_tensor import FakeTensorMode

from hf_jukebox.sampling import step_graph
from hf_jukebox.sampling.batch import BatchSampler, BatchTask
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.step_graph import LEAD
from hf_jukebox.sampling.step_runner import StepRunner


@pytest.mark.parametrize(("name", "batch"), [("upsampler", 1), *((name, 3) for name in CONFIGS)])
def test_one_captured_step_samples_every_window_piece_and_temperature(
    name: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = random_prior(name)
    expected = sampled(prior, StepRunner(), batch)
    graphs = capture_on_cpu(monkeypatch)
    codes = sampled(prior, StepRunner(), batch)
    assert all(torch.equal(a, b) for a, b in zip(codes, expected, strict=True))
    assert len(graphs) == 1


def test_a_run_captures_each_level_and_batch_size_once_and_is_resumed_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipe = tiny_pipeline()
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(9), "num_waveforms_per_prompt": 3, "max_batch_size": 2}
    expected = pipe(generator=0, **options)
    graphs = capture_on_cpu(monkeypatch)
    pipe(generator=0, output_dir=tmp_path / "run", callback=lambda progress: progress.sampled < 80, **options)
    assert len(graphs) == 2 + 1  # two songs and then one at the top level, two at the level that was stopped
    resumed = pipe.resume_run(tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(resumed.codes, expected.codes, strict=True))
    assert len(graphs) == 3 + 2 + 2


def test_the_host_is_no_further_ahead_of_the_device_than_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    capture_on_cpu(monkeypatch)
    prior = random_prior("folded")
    step = StepRunner().get(prior, 1, SamplingSettings())
    monkeypatch.setattr(Event, "waits", 0)
    waits = []
    for _ in range(5 * LEAD):
        step.buffers.position.zero_()
        step.run()
        waits.append(Event.waits)
    # After n launches the host has waited for all but the last 2 * LEAD of them.
    assert all(waits[n - 1] * LEAD >= n - 2 * LEAD for n in range(1, 5 * LEAD + 1))


def test_a_window_is_sampled_without_a_wait_for_the_device() -> None:
    """A fake tensor has no values: reading one fails."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        prior = tiny_prior("tiny_upsampler")
        codes, noise = torch.zeros(2, 48, dtype=torch.long), torch.zeros(2, 48)
        upper = torch.zeros(2, 12, dtype=torch.long)
        sampler = iter(BatchSampler(prior, BatchTask(codes, [0, 9], 32, noise, SamplingSettings(), upper)))
        assert [next(sampler) for _ in range(20)] == list(range(1, 21))


def test_a_step_that_cannot_be_captured_is_run_by_its_operators(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prior = random_prior("folded")
    expected = sampled(prior, StepRunner(), 1)
    capture_on_cpu(monkeypatch)

    def refuse(graph: Any, **options: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(step_graph.torch.cuda, "graph", refuse)
    with caplog.at_level(logging.WARNING):
        codes = sampled(prior, StepRunner(), 1)
    assert "cannot be a CUDA graph (operation not permitted when stream is capturing)" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(codes, expected, strict=True))
