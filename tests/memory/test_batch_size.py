"""Estimates of memory, compared with actual allocations."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.tiny import tiny_prior

from hf_jukebox.memory import batch_size as memory

TESTS = Path(__file__).parents[1]

# All codes but the last few are given: little is sampled, but much is kept, decoded and written.
LONG_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from helpers.peak import peak_bytes
from helpers.tiny import RATE, TOP_HOP, tiny_pipeline
torch.set_num_threads(1)
pipe, seconds = tiny_pipeline(), float(sys.argv[3])
top = int(seconds * RATE) // TOP_HOP
known = [torch.randint(64, (1, (top - 1) * 16 // 4**level)) for level in range(3)]
pipe(codes=known, audio_length_in_s=seconds, output_dir=sys.argv[2], output_type="latent")
print(peak_bytes())
"""


def test_the_estimate_per_song_covers_its_state() -> None:
    for preset in ("tiny_prior", "tiny_upsampler", "tiny_lyrics_prior"):
        prior = tiny_prior(preset)
        state = prior.init_state(3)
        held = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors().values())
        assert 3 * memory.song_bytes(prior, 64) >= held


def test_free_memory_and_weights() -> None:
    cpu = torch.device("cpu")
    assert 0 < memory.free_bytes(cpu) < 2**50
    linear = torch.nn.Linear(10, 10)
    assert memory.weight_bytes(linear) == 440
    assert memory.weight_bytes(linear, cpu) == 0 and memory.weight_bytes(linear, torch.device("meta")) == 440


def test_a_prior_that_may_not_fit_warns_and_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with caplog.at_level("WARNING"):
        assert memory.fitting_batch_size(tiny_prior("tiny_prior"), 64, torch.device("cpu")) == 1
    assert "Free memory on cpu may be too small for level 2; try `dtype='float16'`" in caplog.text


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_container_bytes", lambda: 12345)
    assert memory.free_bytes(torch.device("cpu")) == 12345


def test_memory_is_flat_in_the_length_of_a_piece(tmp_path: Path) -> None:
    peaks = []
    for seconds in (30, 180):
        command = [sys.executable, "-c", LONG_RUN, str(TESTS), str(tmp_path / str(seconds)), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] <= 1.2 * peaks[0], peaks
