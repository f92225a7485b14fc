"""Salted hashes of stretches of codes: they tell whether a stretch occurs in songs, without the songs.

The hash of the codes c_0 ... c_(n-1) is a polynomial over random values of the codes, `sum of T[c_j] m^j` modulo 2^64
(Karp and Rabin, IBM Journal of Research and Development, 1987), whose bits are mixed; the salt determines T and m. It
can be updated code by code, so that every next code is tested in one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from .arrays import array_path, open_array, write_array
from .index import SEPARATOR, STRIDE, buckets_of, entries_of, mixed, table_bits

_SHORTEST = 16  # codes of a hashed stretch: shorter ones could be guessed
_SPARED = 1  # bits: a bucket holds up to two hashes on average
_WINDOWS_HASHED = 2**20  # codes at a time


@dataclass(frozen=True)
class GramHash:
    """The hash of stretches of `length` codes under a salt."""

    length: int
    values: np.ndarray  # uint64 [2**16], T
    factor: int  # m

    @classmethod
    def of(cls, length: int, salt: bytes) -> Self:
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(salt))))
        drawn = random.integers(0, 2**64, SEPARATOR + 2, dtype=np.uint64)
        return cls(length, drawn[:-1], int(drawn[-1]) | 1)

    @property
    def inverse(self) -> int:
        """The factor's inverse modulo 2^64."""
        return pow(self.factor, -1, 2**64)

    def power(self, exponent: int) -> np.uint64:
        return np.uint64(pow(self.factor, exponent, 2**64))

    def windows(self, codes: np.ndarray) -> np.ndarray:
        """Return the hash of each stretch in uint16 codes `[n]`, uint64 `[n - length + 1]`."""
        powers, inverses = _powers(self.factor, len(codes)), _powers(self.inverse, len(codes))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(self.values[codes] * powers, dtype=np.uint64)])
        starts = np.arange(len(codes) - self.length + 1)
        return mixed((sums[starts + self.length] - sums[starts]) * inverses[starts])


@dataclass(frozen=True)
class HashedGrams:
    """Hashes of one level; the arrays may be memory-mapped.

    Attributes:
        hash: The hash function.
        hashes: uint64 `[n]`, sorted.
        table: uint32 `[2**bits + 1]`, the first hash of each bucket.
    """

    hash: GramHash
    hashes: np.ndarray
    table: np.ndarray

    @classmethod
    def open(cls, folder: Path, level: int, length: int, salt: bytes) -> Self:
        """Map the files of a level into memory.

        Raises:
            OSError, ValueError: one is missing or damaged.
        """
        hashes = open_array(array_path(folder, level, "hashes"), np.uint64)
        table = open_array(array_path(folder, level, "table"), np.uint32)
        if (len(table) - 1).bit_count() != 1 or table[-1] != len(hashes) or length < _SHORTEST:
            raise ValueError(f"The hashes of level {level} in {folder} are damaged; ask for the catalogue again.")
        return cls(GramHash.of(length, salt), hashes, table)

    @property
    def longest_unseen(self) -> int:
        """Codes of the longest stretch of a song that may hold no hashed stretch."""
        return self.hash.length + STRIDE - 2

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Return whether each of the hashes is one of a song, bool of the same shape."""
        flat = hashes.ravel()
        bits = len(self.table).bit_length() - 1
        rows, entries = entries_of(self.table, buckets_of(flat, bits))
        found = np.zeros(len(flat), bool)
        found[rows[self.hashes[entries] == flat[rows]]] = True
        return found.reshape(hashes.shape)


def write_hashes(
    folder: Path, level: int, codes: np.ndarray, spans: Sequence[tuple[int, int]], longest: int, salt: bytes
) -> int:
    """Write the hashes of a level so that agreements can be limited to `longest` codes; return the hashed length.

    Args:
        codes: Codes of all songs, uint16 `[n]`.
        spans: Start and end of each song in `codes`.

    Raises:
        OSError: a file cannot be written.
        ValueError: `longest` is too small, or no song is that long.
    """
    length = longest - STRIDE + 2
    if length < _SHORTEST:
        raise ValueError(
            f"Hashes limit agreements to {_SHORTEST + STRIDE - 2} codes or more at level {level}, not {longest}; "
            "choose a larger `longest_in_s`."
        )
    gram, found = GramHash.of(length, salt), []
    for start, end in spans:
        for first in range(start, end - length + 1, _WINDOWS_HASHED):
            stretch = codes[first : min(first + _WINDOWS_HASHED + length - 1, end)]
            found.append(gram.windows(stretch)[::STRIDE])
    if not found:
        raise ValueError(
            f"No song of the catalogue has {length} codes at level {level}; choose a smaller `longest_in_s`."
        )
    hashes = np.unique(np.concatenate(found))
    bits = table_bits(len(hashes), _SPARED)
    table = np.searchsorted(hashes >> np.uint64(64 - bits), np.arange(2**bits + 1, dtype=np.uint64)).astype(np.uint32)
    for name, kind, values in (("hashes", np.uint64, hashes), ("table", np.uint32, table)):
        write_array(folder, level, name, kind, values)
    return length


def _powers(factor: int, count: int) -> np.ndarray:
    """Return the first powers of a factor modulo 2^64, uint64 `[count]`."""
    factors = np.full(count, factor, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)


class HashFollower:
    """Follower that knows hashes only: no row ever completes a hashed stretch.

    Args:
        grams: Hashes of a level.
        codebook_size: Number of different codes.
        longest: Codes that an agreement may have.
        rows: Number of rows.

    Raises:
        ValueError: `longest` is less than what the hashes can tell.
    """

    def __init__(self, grams: HashedGrams, codebook_size: int, longest: int, rows: int) -> None:
        if longest < grams.longest_unseen:
            raise ValueError(
                f"These hashes limit agreements to {grams.longest_unseen} codes, not {longest}; choose a larger "
                "`longest_in_s`, or ask for hashes of shorter stretches."
            )
        self._grams, gram = grams, grams.hash
        self.memory = gram.length - 1
        self._last = np.full((rows, self.memory), SEPARATOR, np.uint16)
        self._sums = np.zeros(rows, np.uint64)  # of the last codes, without mixing
        self._known = np.zeros(rows, np.int64)  # codes that each row has
        # What a next code adds: the stretch is the last codes and it.
        self._next = gram.values[:codebook_size] * gram.power(self.memory)  # [codebook_size]
        self._inverse, self._newest = np.uint64(gram.inverse), gram.power(self.memory - 1)

    def observe(self, codes: np.ndarray) -> None:
        values = self._grams.hash.values
        oldest = np.where(self._known >= self.memory, values[self._last[:, 0]], np.uint64(0))
        added = np.where(self._known >= self.memory, values[codes] * self._newest, np.uint64(0))
        growing = values[codes] * self._powers_of(self._known)
        full = (self._sums - oldest) * self._inverse + added
        self._sums = np.where(self._known >= self.memory, full, self._sums + growing)
        self._last[:, :-1] = self._last[:, 1:]
        self._last[:, -1] = codes
        self._known += 1
        is_none = codes == SEPARATOR
        self._sums[is_none], self._known[is_none] = 0, 0

    def too_long(self) -> tuple[np.ndarray, np.ndarray]:
        (full,) = np.nonzero(self._known >= self.memory)
        hashes = mixed(self._sums[full, None] + self._next)  # [full, codebook_size]
        rows, codes = np.nonzero(self._grams.contains(hashes))
        return full[rows], codes

    def _powers_of(self, exponents: np.ndarray) -> np.ndarray:
        powers = [self._grams.hash.power(min(int(exponent), self.memory)) for exponent in exponents]
        return np.array(powers, np.uint64)
