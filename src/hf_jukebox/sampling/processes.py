"""Several processes, started by `accelerate launch`, that draw one piece together."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

T = TypeVar("T")


def this_process() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    # A process that has drawn its share waits for the others, and a level may take hours.
    state = PartialState(timeout=timedelta(days=30)) if not PartialState._shared_state else PartialState()
    return state.process_index, state.num_processes


def from_first(value: T) -> T:
    """The value that the first process has."""
    if this_process()[1] == 1:
        return value
    return broadcast_object_list([value])[0]


def from_all(value: T) -> list[T]:
    """The values that the processes have, in their order."""
    return [value] if this_process()[1] == 1 else gather_object([value])
