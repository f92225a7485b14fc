"""The instructions of the CPU that PyTorch uses."""

import torch

from hf_jukebox import hardware
from hf_jukebox.hardware import instruction_set


def test_the_instructions_are_those_that_pytorch_uses(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert instruction_set() == "AVX2"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for has_bfloat16, name in ((True, "AVX512 with bfloat16"), (False, "AVX512")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has_bfloat16: has)
        assert instruction_set() == name
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert instruction_set() == hardware.platform.machine()
