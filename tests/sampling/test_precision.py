"""The precision that suits a device."""

from collections.abc import Callable

import pytest
import torch

from hf_jukebox.sampling import precision
from hf_jukebox.sampling.precision import fast_dtype

CPU = torch.device("cpu")


def test_a_step_that_is_not_compiled_stays_exact_on_a_cpu():
    for is_one_song in (True, False):
        assert fast_dtype(CPU, is_compiled=False, is_one_song=is_one_song) == torch.float32
    assert fast_dtype(torch.device("mps"), is_compiled=False, is_one_song=True) == torch.float32
    assert fast_dtype(torch.device("cuda"), is_compiled=False, is_one_song=True) == torch.float16


@pytest.mark.parametrize(
    ("instructions", "one_song", "several"),
    [("AVX2", "bfloat16", "float32"), ("AVX512 with bfloat16", "bfloat16", "bfloat16")],
)
def test_what_was_measured_on_such_a_processor_is_not_tried_again(monkeypatch, instructions, one_song, several):
    monkeypatch.setattr(precision, "instruction_set", lambda: instructions)
    monkeypatch.setattr(precision, "_probe", None)
    chosen = [fast_dtype(CPU, is_compiled=True, is_one_song=is_one_song) for is_one_song in (True, False)]
    assert chosen == [getattr(torch, one_song), getattr(torch, several)]


@pytest.mark.compiler
@pytest.mark.parametrize(("slowness", "expected"), [(0.5, "bfloat16"), (0.95, "float32"), (2, "float32")])
def test_an_unknown_processor_is_tried(monkeypatch, slowness, expected):
    """bfloat16 has to be plainly faster."""

    def seconds(step: Callable[[], object]) -> float:
        step()
        _, _, caches = step.args  # type: ignore[attr-defined]  # a partial
        return slowness if caches[0].dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(precision, "instruction_set", lambda: "riscv64")
    monkeypatch.setattr(precision, "_seconds", seconds)
    assert fast_dtype(CPU, is_compiled=True, is_one_song=False) == getattr(torch, expected)


@pytest.mark.compiler
def test_the_trial_runs_on_this_processor():
    assert precision._probe(1) in (torch.float32, torch.bfloat16)


def test_without_kernels_the_step_stays_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "fuse", lambda transformer, rows: None)
    assert precision._probe(1) == torch.float32
