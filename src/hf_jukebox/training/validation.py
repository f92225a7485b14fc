"""Means of metrics over the held-out examples, on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from .task import Batch


def mean_metrics(
    evaluate: Callable[[Batch], dict[str, torch.Tensor]],
    batches: Iterable[Batch],
    make_filler: Callable[[], Batch],
    accelerator: Accelerator,
) -> dict[str, float]:
    """Return the means of metrics over all examples of all processes; empty if there are none.

    Every process makes the same number of forward passes, because those of a sharded model, or of one whose buffers are
    synchronised, wait for each other. A process without examples left passes on others, which do not count.

    Args:
        evaluate: Function from a batch to metrics `()`, each a mean over the examples of the batch.
        batches: Examples of this process, of any number.
        make_filler: Function that returns a batch for a process without any.
        accelerator: Processes and devices. All of them must call this function.
    """
    sums: dict[str, float] = {}
    count = 0
    for batch, size in _in_step(batches, make_filler, accelerator):
        metrics = evaluate(batch)
        if size:
            means = torch.stack([value.float() for value in metrics.values()]).tolist()
            for name, mean in zip(metrics, means, strict=True):
                sums[name] = sums.get(name, 0.0) + mean * size
            count += size
    shares: list[tuple[dict[str, float], int]] = gather_object([(sums, count)])
    total = sum(count for _, count in shares)
    names = next((sums for sums, count in shares if count), {})
    return {name: sum(sums.get(name, 0.0) for sums, _ in shares) / total for name in names}


def _in_step(
    batches: Iterable[Batch], make_filler: Callable[[], Batch], accelerator: Accelerator
) -> Iterator[tuple[Batch, int]]:
    """Yield batches and their sizes, equally many on all processes; those that only fill up have size 0."""
    iterator, last = iter(batches), None
    while True:
        batch = next(iterator, None)
        if not _any(batch is not None, accelerator):
            return
        size = 0 if batch is None else len(next(iter(batch.values())))
        last = batch or last or make_filler()
        yield last, size


def _any(flag: bool, accelerator: Accelerator) -> bool:
    """Return True on all processes if the flag is set on any."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)
