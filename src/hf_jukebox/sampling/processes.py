"""Several processes, started by `accelerate launch` or `torch.distributed.run`, that sample one piece together."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

T = TypeVar("T")


def process_rank() -> tuple[int, int]:
    """Return the rank of this process, and the number of processes."""
    if not PartialState._shared_state:
        # A process that has finished its share waits for the others, and a level may take hours.
        PartialState(cpu=is_launched_on_cpu(), timeout=timedelta(days=30))
    return PartialState().process_index, PartialState().num_processes


def is_launched_on_cpu() -> bool:
    """Return whether a launcher has started this process on a CPU."""
    # Otherwise accelerate treats CPU processes of a launcher as unrelated single processes.
    if "LOCAL_RANK" not in os.environ:
        return False
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is None or accelerator.type == "mps" or parse_flag_from_env("ACCELERATE_USE_CPU")


def device_of_process() -> str | None:
    """Return the device of this process among several; None for a single process, which may use any."""
    if process_rank()[1] == 1:
        return None
    device = PartialState().device
    return "cpu" if device.type == "cpu" else str(device)


def on_main_process(make: Callable[[], T]) -> T:
    """Run `make` on the main process and broadcast the result; errors are raised on every process."""
    number, count = process_rank()
    if count == 1:
        return make()
    made: list[Any] = [None, None]
    if number == 0:
        try:
            made[0] = make()
        except Exception as error:
            made[1] = error
    value, failure = broadcast_object_list(made)
    if failure is not None:
        raise failure
    return value


def all_gather_objects(value: T) -> list[T]:
    """Gather the values of all processes, by rank."""
    return [value] if process_rank()[1] == 1 else gather_object([value])
