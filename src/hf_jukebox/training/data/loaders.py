"""From examples to batches, in an order that a restart goes on with."""

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
    """Positions of the batches of one process, without end.

    Batch b of all processes together holds the next `num_processes * batch_size` positions, and each process takes its
    part. So what a step is trained on depends on the sum over the processes alone.
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
    """Batches to train on, without end. The processes share the examples: do not `accelerator.prepare` the loader.

    Args:
        dataset: For training.
        batch_size: Of one process.
        first_batch: Batches that every process has taken before: a restart goes on with the one after.
        process_index, num_processes: Which process this is.
        num_workers: Processes that read ahead. They do not change the batches. A stream uses one at most.
    """
    if isinstance(dataset, StreamedChunks):
        later = dataset.starting_at(first_batch * batch_size)
        return _loader(later, min(num_workers, 1), batch_size=batch_size)
    batches = PositionBatches(batch_size, first_batch, process_index, num_processes)
    return _loader(dataset, num_workers, batch_sampler=batches)


def validation_loader(
    dataset: Dataset[Example],
    batch_size: int,
    *,
    process_index: int = 0,
    num_processes: int = 1,
    num_workers: int = 0,
) -> DataLoader[Batch]:
    """Batches of the examples held out, once and in order.

    All processes get the same number of examples, for which the last ones may see some of the first ones again. Do not
    `accelerator.prepare` the loader.
    """
    if isinstance(dataset, StreamedChunks):
        return _loader(dataset, min(num_workers, 1), batch_size=batch_size)
    total = len(dataset)  # type: ignore[arg-type]  # both kinds of chunks have a length
    share = -(-total // num_processes)
    positions = [position % total for position in range(process_index * share, (process_index + 1) * share)]
    return _loader(Subset(dataset, positions), num_workers, batch_size=batch_size)


def _loader(dataset: Dataset[Example], num_workers: int, **batching: Any) -> DataLoader[Batch]:
    pinned = torch.cuda.is_available()  # from pinned memory a batch is copied to the GPU while it computes
    return DataLoader(dataset, num_workers=num_workers, collate_fn=collate_examples, pin_memory=pinned, **batching)


def collate_examples(examples: Sequence[Example]) -> Batch:
    """Stacks what is of one shape; what is not, such as audio with what there is around it, stays a list."""
    batch: Batch = {}
    for name in examples[0]:
        values = [example[name] for example in examples]
        same = all(value.shape == values[0].shape for value in values)
        batch[name] = torch.stack(values) if same else values
    return batch
