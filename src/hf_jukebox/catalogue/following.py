"""The agreements of songs in progress with a catalogue, followed code by code."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .index import ANCHOR, SEPARATOR, SHORTEST, STRIDE, CodeIndex


class Follower(Protocol):
    """Follower of the last codes of several rows through a catalogue.

    Attributes:
        memory: Codes before the next one on which its answers depend.
    """

    memory: int

    def observe(self, codes: np.ndarray) -> None:
        """Take the next code of each row, uint16 `[rows]`; `SEPARATOR` for a row that has none."""

    def too_long(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and codes, int64 `[n]` each, that would make an agreement too long as the next code."""


class CodeFollower:
    """Follower of exact agreements: every stretch of codes that also occurs in a catalogue.

    An agreement is found at its first whole anchor, counted back to its start, and then followed until a code differs.
    Those within a held run, which has anchors at its ends only, follow from the lengths of the runs.

    Args:
        index: Index of the catalogue.
        longest: Codes that an agreement may have.
        rows: Number of rows.

    Raises:
        ValueError: `longest` is too small for the index.
    """

    def __init__(self, index: CodeIndex, longest: int, rows: int) -> None:
        if longest < SHORTEST:
            raise ValueError(f"A catalogue follows agreements of at least {SHORTEST} codes, not {longest}.")
        self.memory = longest + SHORTEST
        self._index, self._longest = index, longest
        self._history = _History(rows, self.memory)
        self._held = np.zeros(rows, np.int64)  # equal codes at the end of each row
        self._after_run: dict[int, np.ndarray] = {}
        # The agreements: their rows, the positions of their next codes in the catalogue, and their lengths.
        self._rows, self._next, self._lengths = (np.zeros(0, np.int64) for _ in range(3))

    def observe(self, codes: np.ndarray) -> None:
        self._held = np.where(codes == self._history.last(1)[:, 0], self._held + 1, 1)
        self._history.append(codes)
        if len(self._rows):
            following = self._index.codes[self._next]
            agrees = (following == codes[self._rows]) & (following != SEPARATOR)
            self._rows, self._next = self._rows[agrees], self._next[agrees] + 1
            self._lengths = self._lengths[agrees] + 1
        rows, following = self._index.find(self._history.last(ANCHOR))
        if len(rows) and len(self._rows):
            reach = len(self._index.codes)
            is_new = ~np.isin(rows * reach + following, self._rows * reach + self._next)
            rows, following = rows[is_new], following[is_new]
        if len(rows):
            self._rows = np.concatenate([self._rows, rows])
            self._next = np.concatenate([self._next, following])
            self._lengths = np.concatenate([self._lengths, self._count_back(rows, following)])

    def too_long(self) -> tuple[np.ndarray, np.ndarray]:
        is_longest = self._lengths >= self._longest
        rows, codes = self._rows[is_longest], self._index.codes[self._next[is_longest]].astype(np.int64)
        for row in np.flatnonzero(self._held >= self._longest):
            after = self._codes_after_run(int(self._history.last(1)[row, 0]))
            rows, codes = np.append(rows, np.full(len(after), row)), np.append(codes, after)
        at_end = codes == SEPARATOR
        return rows[~at_end], codes[~at_end]

    def _codes_after_run(self, code: int) -> np.ndarray:
        """Return the codes that follow `longest` equal codes in the catalogue."""
        if code not in self._after_run:
            index, runs = self._index, self._index.run_codes == code
            lengths, following = index.run_lengths[runs], index.run_following[runs]
            held = [code] if (lengths > self._longest).any() else []
            self._after_run[code] = np.unique(np.append(following[lengths >= self._longest], held).astype(np.int64))
        return self._after_run[code]

    def _count_back(self, rows: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Return the lengths of new agreements, up to `longest`: that of the anchor, and of what agrees before it."""
        lengths = np.full(len(rows), ANCHOR)
        left = np.arange(len(rows))
        # Most end within a stride, since the anchor before would have been found otherwise.
        for step in range(ANCHOR, self._longest, STRIDE):
            back = np.arange(step + 1, step + STRIDE + 1)
            before = following[left, None] - back
            catalogue = np.where(before >= 0, self._index.codes[np.maximum(before, 0)], SEPARATOR)
            own = self._history.last(step + STRIDE)[rows[left]][:, STRIDE - 1 :: -1]
            agrees = (catalogue == own) & (catalogue != SEPARATOR)
            counts = np.logical_and.accumulate(agrees, axis=1).sum(axis=1)
            lengths[left] += counts
            left = left[counts == STRIDE]
            if not len(left):
                break
        return lengths


class _History:
    """The last codes of each row, uint16 `[rows, size]`; `SEPARATOR` where a row has none."""

    def __init__(self, rows: int, size: int) -> None:
        self._size, self._end = size + STRIDE, size + STRIDE
        self._codes = np.full((rows, 4 * self._size), SEPARATOR, np.uint16)

    def append(self, codes: np.ndarray) -> None:
        if self._end == self._codes.shape[1]:
            self._codes[:, : self._size] = self._codes[:, -self._size :].copy()
            self._end = self._size
        self._codes[:, self._end] = codes
        self._end += 1

    def last(self, count: int) -> np.ndarray:
        """Return the last codes `[rows, count]`."""
        return self._codes[:, self._end - count : self._end]
