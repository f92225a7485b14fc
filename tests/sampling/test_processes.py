"""Two processes sample the same codes as one."""

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name("processes_sample.py")


def codes_of(processes: int, output: Path) -> dict[str, list[torch.Tensor]]:
    root = SCRIPT.parents[2]
    path = os.pathsep.join([str(root / "src"), str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(SCRIPT), str(output)]
    environment = os.environ | {"PYTHONPATH": path, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return torch.load(output, weights_only=True)


def test_a_song_split_over_two_processes_has_the_same_codes(tmp_path):
    alone, shared = (codes_of(count, tmp_path / f"{count}.pt") for count in (1, 2))
    for upsampling, codes in alone.items():
        assert all(torch.equal(a, b) for a, b in zip(codes, shared[upsampling], strict=True))
