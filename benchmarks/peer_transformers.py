"""Server for transformers 4.57.6's Jukebox; benchmarks start it with the interpreter of its own environment.

A program that measures another implementation implements the same protocol, one JSON object per line. The first request
is `{"threads", "weights"}`, with a file for torch.load that holds `config`, `state` and `upper` of a prior, or of a
VQ-VAE; the answer is `{}`. The answer to each `{"task": "decode", "batch", "codes"}` is `{"seconds", "codes"}`, sampled
greedily, and to each `{"task": "encode" | "reconstruct", "samples"}` it is `{"seconds"}`.

For training the file holds `batch`, that is `codes` and `labels`, and `precision`, "no" or "bf16" (by autocast), in
place of `upper`. Each `{"task": "train"}` is one optimisation step on it, answered with `{"seconds", "core_seconds",
"loss", "peak_mb"}`: the loss before the step, and the peak memory of the process above that before the model was
loaded.
"""

import time
from typing import Any

import torch
from serving import answering_steps, plain_step, serve
from transformers import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig


def load(held: dict[str, Any]) -> Any:
    config = held["config"]
    if "hidden_size" in config:
        model = JukeboxPrior(JukeboxPriorConfig(**config), level=config["level"], nb_priors=3)
    else:
        model = JukeboxVQVAE(JukeboxVQVAEConfig(**config))
    model.load_state_dict(held["state"])
    return model.eval()


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


def prepare(held: dict[str, Any]) -> Any:
    if "batch" not in held:
        model = load(held)
        return lambda request: run(model, held["upper"], request)

    def make_step() -> Any:
        prior, batch = load(held), held["batch"]
        compute_loss = lambda: prior.forward_tokens(batch["codes"], [], batch["labels"])[0]  # noqa: E731
        return plain_step(prior, compute_loss, held["precision"])

    return answering_steps(make_step)


if __name__ == "__main__":
    serve(prepare)
