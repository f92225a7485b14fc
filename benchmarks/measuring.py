"""Shared parts of the benchmarks: the machine, its read bandwidth, other implementations, and the JSON result."""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_jukebox.convert.names import is_transposed, name_in_file
from hf_jukebox.hardware import instruction_set

TRANSFORMERS = Path(__file__).with_name("peer_transformers.py")


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which everything is measured in turn")
    parser.add_argument("--peer", help="python of an environment made by setup_peer.sh")
    parser.add_argument("--other", help="command of a program with the protocol of peer_transformers.py")
    return parser


def machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        name = next((x.split(":")[1].strip() for x in cpuinfo.read_text().splitlines() if "model name" in x), name)
    if device == "cuda":
        name = torch.cuda.get_device_name()
    instructions = {"instructions": instruction_set()} if device == "cpu" else {}
    quiet = {"load": [round(load, 1) for load in os.getloadavg()]} if hasattr(os, "getloadavg") else {}
    measured = {"threads": threads, "torch": torch.__version__, "read_gb_s": read_bandwidth(device)}
    return {"machine": name} | instructions | quiet | measured


def read_bandwidth(device: str) -> float:
    """Measure the read bandwidth of memory in GB/s, by summing an array larger than any cache."""
    array = torch.ones(2**28 if device == "cuda" else 2**26, device=device)
    return round(array.nbytes / median([seconds(array.sum, device) for _ in range(9)]) / 1e9, 1)


def seconds(work: Callable[[], Any], device: str = "cpu") -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peer_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return our weights under the names and in the layout of transformers 4."""
    state = {}
    downs = getattr(model.config, "downs_t", ())
    for name, tensor in model.state_dict().items():
        if name.startswith("quantizers.") and not name.endswith(".codebook"):
            continue
        tensor = tensor.t() if is_transposed(name) else tensor
        tensor = tensor[None] if name.endswith("start_embedding") else tensor
        state[name_in_file(name, "transformers", downs)] = tensor.contiguous()
    return state


class Other:
    """Another implementation, in its own process."""

    def __init__(self, command: Sequence[str], threads: int, weights: Path) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.request(threads=threads, weights=str(weights))

    def request(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("The other implementation ended early; run its command by hand to see why.")
        return json.loads(line)


def others(options: argparse.Namespace, weights: Path) -> dict[str, Other]:
    commands = {}
    if options.peer:
        commands["transformers 4.57.6"] = [options.peer, str(TRANSFORMERS)]
    if options.other:
        commands["other"] = shlex.split(options.other)
    return {name: Other(command, options.threads, weights) for name, command in commands.items()}


def in_turn(rounds: int, measures: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure everything once per round, so that drifts in machine speed affect all alike."""
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            figures[name].append(measure())
    return figures


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join("" if value is None else str(value) for value in row.values()) + " |")


def finish(**result: Any) -> None:
    print(json.dumps(result))
