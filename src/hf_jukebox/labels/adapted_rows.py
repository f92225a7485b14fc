"""Rows of the label tables that adapters bring along: where they go, and which names are valid with them.

An adapter is trained on all rows of a table, and takes some over for new names. Two adapters may have taken the same
row; then the later one gets another row, so that both have their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch

Rows = dict[str, int]


@dataclass(frozen=True)
class AdaptedRows:
    """The rows of one table that an adapter uses on a prior.

    Attributes:
        names: Its own names, each with its row on the prior.
        moved: Row in the adapter's table to row on the prior, where they differ.
    """

    names: Rows = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)


def place_rows(own: Rows, num_rows: int, names: Rows, others: Iterable[AdaptedRows]) -> AdaptedRows:
    """Choose rows for the names of a new adapter.

    A name keeps its row, unless another adapter uses that row for another name: then it gets the first row without
    any name, or a new one at the end. A name that another adapter has too shares that adapter's row.

    Args:
        own: The prior's own names.
        num_rows: Rows of the prior's own table.
        names: Names of the adapter, with their rows in its table.
        others: Rows of the adapters that are loaded.
    """
    taken: dict[int, set[str]] = {}
    shared: Rows = {}
    for other in others:
        shared |= other.names
        for name, row in other.names.items():
            taken.setdefault(row, set()).add(name)
    free = _free_rows(set(own.values()) | set(taken) | set(names.values()), max([num_rows - 1, *taken]))
    placed: Rows = {}
    moved: dict[int, int] = {}
    for name, row in names.items():
        if row in moved:
            placed[name] = moved[row]
            continue
        target = shared.get(name, row if row not in taken else next(free))
        if target != row:
            moved[row] = target
        placed[name] = target
    return AdaptedRows(placed, moved)


def joined_names(own: Rows, adapters: Iterable[AdaptedRows]) -> Rows:
    """Return the names that are valid with some adapters: theirs, and those of the prior whose rows they left."""
    theirs: Rows = {}
    for adapter in adapters:
        theirs |= adapter.names
    rows = set(theirs.values())
    return {name: row for name, row in own.items() if row not in rows and name not in theirs} | theirs


def summed_table(
    own: torch.Tensor, adapters: Iterable[tuple[torch.Tensor, AdaptedRows, float]], num_rows: int
) -> torch.Tensor:
    """Return the table `[num_rows, width]` of a prior with adapters, in float32.

    Each adapter adds its difference from the prior's own table, times its scale. A row that was moved starts from the
    prior's own row at its old place, as it did in training.

    Args:
        own: The prior's own table `[rows, width]`.
        adapters: Table `[rows, width]`, rows and scale of each adapter.
    """
    own = own.float()
    table = torch.cat([own, own.new_zeros(num_rows - len(own), own.shape[1])])
    changes = torch.zeros_like(table)
    for trained, rows, scale in adapters:
        difference = scale * (trained.to(own.device, torch.float32) - own)
        for row, target in rows.moved.items():
            table[target] = own[row]
            changes[target] += difference[row]
            difference[row] = 0
        changes[: len(own)] += difference
    return table + changes


def rows_needed(num_rows: int, adapters: Iterable[AdaptedRows]) -> int:
    """Return the number of rows of a table that has all rows of some adapters."""
    return max([num_rows, *(1 + row for adapter in adapters for row in adapter.moved.values())])


def _free_rows(used: set[int], last: int) -> Iterator[int]:
    row = 0
    while True:
        row += 1
        if row > last or row not in used:
            yield row
