"""The precision that suits a device."""

import pytest
import torch

from hf_jukebox import hardware
from hf_jukebox.hardware import fast_dtype, instruction_set

CPU = torch.device("cpu")


def test_the_instructions_are_those_that_pytorch_uses(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert instruction_set() == "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for has_bfloat16, name in ((True, "AVX512 with bfloat16"), (False, "AVX512")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has_bfloat16: has)
        assert instruction_set() == name
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert instruction_set() == hardware.platform.machine()


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
    monkeypatch.setattr(hardware, "instruction_set", lambda: instructions)
    monkeypatch.setattr(hardware, "_probe", None)
    chosen = [fast_dtype(CPU, is_compiled=True, is_one_song=is_one_song) for is_one_song in (True, False)]
    assert chosen == [getattr(torch, one_song), getattr(torch, several)]


@pytest.mark.parametrize(("slowness", "expected"), [(0.5, "bfloat16"), (0.95, "float32"), (2, "float32")])
def test_an_unknown_processor_is_tried(monkeypatch, slowness, expected):
    """bfloat16 has to be plainly faster, since its codes depend on the grouping."""
    monkeypatch.setattr(hardware, "instruction_set", lambda: "riscv64")
    monkeypatch.setattr(hardware, "_seconds", lambda x, weights: slowness if x.dtype == torch.bfloat16 else 1.0)
    assert fast_dtype(CPU, is_compiled=True, is_one_song=False) == getattr(torch, expected)


def test_the_trial_runs_on_this_processor():
    assert hardware._probe(1) in (torch.float32, torch.bfloat16)
