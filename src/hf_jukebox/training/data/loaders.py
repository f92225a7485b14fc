"""Data loaders whose batch order survives restarts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from .datasets import Example
from .streams import StreamedChunks

Batch = dict[str, Any]


class PositionBatches(Sampler[list[int]]):
    """Endless sampler of the positions of one process's batches.

    Batch b of all processes together holds the next `num_processes * batch_size` positions, and each process takes its
    share. So the examples of a step depend on the global batch size alone.
    """

    def __init__(self, batch_size: int, first_batch: int = 0, process_index: int = 0, num_processes: int = 1) -> None:
        self.batch_size = batch_size
        self.first_batch = first_batch
        self.process_index = process_index
        self.num_processes = num_processes

    def __iter__(self) -> Iterator[list[int]]:
        for batch in count(self.first_batch):
            first = (batch * self.num_processes + self.process_index) * self.batch_size
            yield list(range(first, first + self.batch_size))


def training_loader(
    dataset: Dataset[Example],
    batch_size: int,
    *,
    first_batch: int = 0,
    process_index: int = 0,
    num_processes: int = 1,
    num_workers: int = 0,
) -> DataLoader[Batch]:
    """Make an endless loader of training batches. It splits the examples over the processes: do not
    `accelerator.prepare` it.

    Args:
        dataset: Training examples.
        batch_size: Examples per batch and process.
        first_batch: Batches per process to skip, those of a run before its restart.
        process_index, num_processes: Rank of this process, and number of processes.
        num_workers: Worker processes; they do not change the batches. A stream uses at most one.
    """
    if isinstance(dataset, StreamedChunks):
        later = dataset.part(first_batch * batch_size)
        return _loader(later, min(num_workers, 1), batch_size=batch_size)
    batches = PositionBatches(batch_size, first_batch, process_index, num_processes)
    return _loader(dataset, num_workers, batch_sampler=batches)


def validation_loader(
    dataset: Dataset[Example],
    batch_size: int,
    *,
    most: int | None = None,
    process_index: int = 0,
    num_processes: int = 1,
    num_workers: int = 0,
) -> DataLoader[Batch]:
    """Make a loader of the held-out examples, each once and in order.

    The examples of all processes together depend neither on the batch size nor on the number of processes. A process
    may get one fewer than another, or none. Do not `accelerator.prepare` the loader.

    Args:
        most: Number of examples at most, evenly spaced over the dataset; the first ones of a stream, whose length is
            unknown. All by default.
        process_index, num_processes: Rank of this process, which gets every `num_processes`-th example.
    """
    if isinstance(dataset, StreamedChunks):
        share = dataset.part(process_index, most, num_processes)
        return _loader(share, min(num_workers, 1), batch_size=batch_size)
    total: int = len(dataset)  # type: ignore[arg-type]  # both kinds of chunks have a length
    count = total if most is None else min(most, total)
    positions = [number * total // count for number in range(process_index, count, num_processes)]
    return _loader(Subset(dataset, positions), num_workers, batch_size=batch_size)


def _loader(dataset: Dataset[Example], num_workers: int, **batching: Any) -> DataLoader[Batch]:
    pinned = torch.cuda.is_available()  # batches are copied to the GPU asynchronously
    return DataLoader(dataset, num_workers=num_workers, collate_fn=collate_examples, pin_memory=pinned, **batching)


def collate_examples(examples: Sequence[Example]) -> Batch:
    """Stack values of equal shape; others, such as audio with its context, stay a list."""
    batch: Batch = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        same = all(value.shape == values[0].shape for value in values)
        batch[name] = torch.stack(values) if same else values
    return batch
