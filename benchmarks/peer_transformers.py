"""Runs transformers 4.57.6's Jukebox on request; benchmarks start it with the interpreter of its own environment.

A program that measures another implementation speaks the same protocol, one JSON object a line. It is first told
`{"threads", "weights"}`, a file for torch.load that holds `config`, `state` and `upper` of a prior, or of a VQ-VAE, and
answers `{}`. Then it answers each `{"task": "decode", "batch", "codes"}` with `{"seconds", "codes"}`, drawn greedily,
and each `{"task": "encode" | "reconstruct", "samples"}` with `{"seconds"}`.
"""

import json
import os
import sys
import time
from typing import Any

import torch
from transformers import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig

ANSWERS = os.fdopen(os.dup(1), "w")
sys.stdout = sys.stderr  # whatever the library prints


def answer(**values: Any) -> None:
    ANSWERS.write(json.dumps(values) + "\n")
    ANSWERS.flush()


def load(weights: str) -> tuple[torch.nn.Module, torch.Tensor]:
    held = torch.load(weights, weights_only=True)
    config = held["config"]
    if "hidden_size" in config:
        model = JukeboxPrior(JukeboxPriorConfig(**config), level=config["level"], nb_priors=3)
    else:
        model = JukeboxVQVAE(JukeboxVQVAEConfig(**config))
    model.load_state_dict(held["state"])
    return model.eval(), held["upper"]


@torch.no_grad()
def run(model: Any, upper: torch.Tensor, request: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    if request["task"] == "decode":
        batch = request["batch"]
        conditions = [upper[:batch]]
        codes = model.sample(batch, None, conditions, None, temp=1.0, top_k=1, sample_tokens=request["codes"])
        return {"seconds": time.perf_counter() - started, "codes": codes.tolist()}
    audio = torch.rand(1, request["samples"], 1, generator=torch.Generator().manual_seed(0)) - 0.5
    started = time.perf_counter()
    codes = model.encode(audio)
    if request["task"] == "encode":
        return {"seconds": time.perf_counter() - started}
    started = time.perf_counter()
    model.decode(codes[:1], start_level=0, end_level=1)
    return {"seconds": time.perf_counter() - started}


def main() -> None:
    first = json.loads(sys.stdin.readline())
    torch.set_num_threads(first["threads"])
    model, upper = load(first["weights"])
    answer()
    for line in sys.stdin:
        answer(**run(model, upper, json.loads(line)))


if __name__ == "__main__":
    main()
