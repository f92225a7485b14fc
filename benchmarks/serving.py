"""An implementation in a process of its own, which answers the requests described in peer_transformers.py."""

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
    """Answer until there are no more requests; `prepare` gets what the file holds and gives what answers a request."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # whatever the libraries print

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    first = json.loads(sys.stdin.readline())
    torch.set_num_threads(first["threads"])
    run = prepare(torch.load(first["weights"], weights_only=True))
    say({})
    for line in sys.stdin:
        say(run(json.loads(line)))


def plain_step(model: torch.nn.Module, loss_of_batch: Callable[[], torch.Tensor]) -> Callable[[], float]:
    """An optimisation step as the shortest loop takes it; its loss."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-4, weight_decay=0.01)

    def step() -> float:
        loss = loss_of_batch()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def answering_steps(make_step: Callable[[], Callable[[], float]]) -> Callable[[Request], Answer]:
    """Answers each request by a step of training; `make_step` loads the model, whose memory counts."""
    before = resident("VmRSS")
    step = make_step()

    def run(request: Request) -> Answer:
        started, core_started = time.perf_counter(), time.process_time()
        loss = step()
        taken = {"seconds": time.perf_counter() - started, "core_seconds": time.process_time() - core_started}
        return taken | {"loss": loss, "peak_mb": (resident("VmHWM") - before) / 2**20}

    return run


def resident(name: str) -> int:
    """Bytes of memory that this process has (VmRSS), or had at most (VmHWM; getrusage counts its parent's too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
