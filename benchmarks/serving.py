"""Server side of the protocol described in peer_transformers.py: one implementation in its own process."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Request = dict[str, Any]
Answer = dict[str, Any]


def serve(prepare: Callable[[dict[str, Any]], Callable[[Request], Answer]]) -> None:
    """Answer requests until there are no more; `prepare` turns the content of the file into the request handler."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # keep prints of libraries out of the answers

    def send(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    first = json.loads(sys.stdin.readline())
    torch.set_num_threads(first["threads"])
    run = prepare(torch.load(first["weights"], weights_only=True))
    send({})
    for line in sys.stdin:
        send(run(json.loads(line)))


def plain_step(
    model: torch.nn.Module, compute_loss: Callable[[], torch.Tensor], precision: str = "no"
) -> Callable[[], float]:
    """Return a function that takes one optimisation step, without anything else, and returns its loss.

    Args:
        precision: "no" for float32, "bf16" for bfloat16 by autocast.
    """
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-4, weight_decay=0.01)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = compute_loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def answering_steps(make_step: Callable[[], Callable[[], float]]) -> Callable[[Request], Answer]:
    """Return a handler that answers each request with a training step; the memory of `make_step`'s model counts."""
    before = resident("VmRSS")
    step = make_step()

    def run(request: Request) -> Answer:
        started, core_started = time.perf_counter(), time.process_time()
        loss = step()
        taken = {"seconds": time.perf_counter() - started, "core_seconds": time.process_time() - core_started}
        return taken | {"loss": loss, "peak_mb": (resident("VmHWM") - before) / 2**20}

    return run


def resident(name: str) -> int:
    """Return the current (VmRSS) or peak (VmHWM) memory in bytes; getrusage would include the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
