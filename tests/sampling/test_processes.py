"""Two processes sample the same codes as one."""

from pathlib import Path

import torch
from helpers.forked import run_on

SCRIPT = Path(__file__).with_name("processes_sample.py")


def codes_of(processes: int, output: Path) -> dict[str, list[torch.Tensor]]:
    for done in run_on(processes, SCRIPT, output):
        assert done.returncode == 0, done.stderr
    return torch.load(output, weights_only=True)


def test_a_song_split_over_two_processes_has_the_same_codes(tmp_path):
    alone, shared = (codes_of(count, tmp_path / f"{count}.pt") for count in (1, 2))
    for upsampling, codes in alone.items():
        assert all(torch.equal(a, b) for a, b in zip(codes, shared[upsampling], strict=True))
