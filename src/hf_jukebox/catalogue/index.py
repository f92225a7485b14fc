"""Index of the codes of one level: finds every place where a stretch of codes occurs, on disk and memory-mapped.

All songs lie in one array of codes, each followed by a separator. Every `STRIDE` codes an anchor of `ANCHOR` codes is
indexed by its hash, so that any stretch of `SHORTEST` codes holds a whole anchor. For 1.24 billion codes, which are
1,000 hours of the published top level, the arrays take:

    codes      uint16 per code                           2,480 MB
    positions  uint32 per anchor, sorted by hash           310 MB
    checks     uint8 per anchor, 8 more bits of its hash    78 MB
    table      uint32 per bucket of hashes                  67 MB

A held code, such as that of silence, would be found in a great many places. So anchors within a run of `HELD` equal
codes or more are left out. Instead the run has anchors at its two ends, and is listed with its length and the code that
follows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from .arrays import ArrayFile, array_path, open_array, release_pages, write_array

ANCHOR = 8  # codes
STRIDE = 16  # codes from the start of one anchor to that of the next
SHORTEST = ANCHOR + STRIDE - 1  # length from which on every stretch of codes is found
SEPARATOR = 0xFFFF  # code after each song
HELD = ANCHOR + STRIDE  # equal codes that make a run
MOST_CODES = 2**32  # at which positions no longer fit into 32 bits

_PARTS = {"codes": np.uint16, "positions": np.uint32, "checks": np.uint8, "table": np.uint32}
_RUN_PARTS = {"run_codes": np.uint16, "run_lengths": np.uint32, "run_following": np.uint16}
_ANCHORS_SORTED = 2**22  # at a time
_ANCHORS_READ = 2**18  # at a time
_MOST_TOUCHED = 1024  # places looked at before the pages of the mapping are released
_BITS_SPARED = 3  # a bucket holds up to 2**_BITS_SPARED anchors on average


@dataclass
class CodeIndex:
    """Codes of one level and the index of their anchors; all arrays may be memory-mapped.

    Mapped pages count as memory of the process, and the system maps many around each that is read. They are released
    every now and then, so that a long run does not seem to hold the whole catalogue in memory.

    Attributes:
        codes: uint16 `[n]`, the songs one after the other, each followed by `SEPARATOR`.
        positions: uint32 `[anchors]`, start of each anchor, sorted by hash.
        checks: uint8 `[anchors]`, the 8 bits of the hash that follow those of the bucket.
        table: uint32 `[2**bits + 1]`, the first anchor of each bucket.
        run_codes: uint16 `[runs]`, the held code of each run.
        run_lengths: uint32 `[runs]`, its length.
        run_following: uint16 `[runs]`, the code after it.
    """

    codes: np.ndarray
    positions: np.ndarray
    checks: np.ndarray
    table: np.ndarray
    run_codes: np.ndarray
    run_lengths: np.ndarray
    run_following: np.ndarray
    _num_touched: int = field(default=0, init=False)

    @classmethod
    def open(cls, folder: Path, level: int) -> Self:
        """Map the files of a level into memory.

        Raises:
            OSError: one is missing or cannot be read.
            ValueError: one is damaged, or their sizes do not agree.
        """
        parts = _PARTS | _RUN_PARTS
        index = cls(**{name: open_array(array_path(folder, level, name), kind) for name, kind in parts.items()})
        anchors, runs = len(index.positions), len(index.run_codes)
        is_table = (len(index.table) - 1).bit_count() == 1 and index.table[0] == 0 and index.table[-1] == anchors
        are_runs = len(index.run_lengths) == len(index.run_following) == runs
        if not (len(index.checks) == anchors and index.codes[-1] == SEPARATOR and is_table and are_runs):
            raise ValueError(f"The index of level {level} in {folder} is damaged; build the catalogue again.")
        return index

    def find(self, grams: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Find where stretches of `ANCHOR` codes occur as anchors.

        Args:
            grams: uint16 `[n, ANCHOR]`.
            most: Anchors to look at per stretch, for those that occur very often; all by default.

        Returns:
            Row of `grams` and position of the code that follows the anchor, int64 `[found]` each.

        Raises:
            ValueError: the index is damaged.
        """
        buckets, checks = bucket_keys(gram_hashes(grams), len(self.table) - 1)
        rows, entries = entries_of(self.table, buckets, most)
        is_likely = self.checks[entries] == checks[rows]
        rows, entries = rows[is_likely], entries[is_likely]
        self._note_touched(len(grams) + len(entries))
        starts = self.positions[entries].astype(np.int64)
        if len(starts) and int(starts.max()) + ANCHOR > len(self.codes):
            raise ValueError("The index of a catalogue is damaged; build the catalogue again.")
        found = self.codes[starts[:, None] + np.arange(ANCHOR)]
        is_same = ((found == grams[rows]) & (found != SEPARATOR)).all(axis=1)
        return rows[is_same], starts[is_same] + ANCHOR

    def _note_touched(self, count: int) -> None:
        self._num_touched += count
        if self._num_touched > _MOST_TOUCHED:
            self._num_touched = 0
            for array in (self.codes, self.positions, self.checks, self.table):
                release_pages(array)


def entries_of(table: np.ndarray, buckets: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of some buckets of a table: the index of the bucket, and that of the entry, int64 each."""
    firsts, lasts = table[buckets].astype(np.int64), table[buckets + 1].astype(np.int64)
    counts = np.clip(lasts - firsts, 0, int(table[-1]) if most is None else most)
    rows = np.repeat(np.arange(len(buckets)), counts)
    before = np.cumsum(counts) - counts
    entries = np.arange(len(rows)) + np.repeat(firsts - before, counts)
    return rows, entries


def gram_hashes(grams: np.ndarray) -> np.ndarray:
    """Hash stretches of codes, uint16 `[n, ANCHOR]`, to uint64 `[n]`."""
    halves = np.ascontiguousarray(grams, dtype="<u2").view("<u8")  # [n, 2]
    return mixed(halves[:, 0] + mixed(halves[:, 1]))


def mixed(values: np.ndarray) -> np.ndarray:
    """Mix the bits of uint64 values by the finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def write_index(folder: Path, level: int, lengths: Sequence[int], songs: Iterable[np.ndarray]) -> None:
    """Write the codes of a level and their index, in memory that does not grow with their number.

    Args:
        lengths: Codes of each song.
        songs: Codes of each song, `[n]`.

    Raises:
        OSError: a file cannot be written.
        ValueError: there are too many.
    """
    num_codes = max(sum(lengths) + len(lengths), STRIDE)
    if num_codes >= MOST_CODES:
        raise ValueError(f"A catalogue holds less than {MOST_CODES} codes, not {num_codes}; build several.")
    path, runs = array_path(folder, level, "codes"), [np.zeros((0, 4), np.int64)]
    ends = [(np.zeros(0, np.int64), np.zeros((0, ANCHOR), np.uint16))]
    with ArrayFile(path, np.uint16, num_codes) as codes:
        for song in songs:
            found = held_runs(song)
            ends.append(_anchors_at_ends(song, found, codes.done))
            runs.append(found + np.array([codes.done, 0, 0, 0]))
            codes.write(np.append(song, SEPARATOR))
        codes.fill(SEPARATOR)
    held = np.concatenate(runs)
    positions, grams = zip(*ends, strict=True)
    _write_anchors(folder, level, path, num_codes, held[:, :2], (np.concatenate(positions), np.concatenate(grams)))
    for column, (name, kind) in zip((2, 1, 3), _RUN_PARTS.items(), strict=True):
        # An array is never empty: a run of length 0 changes nothing.
        write_array(folder, level, name, kind, np.append(held[:, column], 0))


def held_runs(song: np.ndarray) -> np.ndarray:
    """Return the runs of at least `HELD` equal codes of a song: start, length, code and following code, `[runs, 4]`."""
    bounds = np.concatenate([[0], np.flatnonzero(song[1:] != song[:-1]) + 1, [len(song)]])
    lengths = np.diff(bounds)
    (held,) = np.nonzero(lengths >= HELD)
    following = np.append(song, SEPARATOR)[bounds[held + 1]]
    starts = bounds[held]
    return np.stack([starts, lengths[held], song[starts], following], axis=1).astype(np.int64)


def _anchors_at_ends(song: np.ndarray, runs: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the anchors at both ends of runs that are not aligned: their positions, and their codes `[n, ANCHOR]`.

    Args:
        start: Position of the song.
    """
    ends = np.concatenate([runs[:, 0] - 1, runs[:, :2].sum(axis=1) - ANCHOR + 1])  # with the code before, or after
    ends = ends[(ends >= 0) & (ends + ANCHOR <= len(song)) & ((ends + start) % STRIDE != 0)]
    return ends + start, song[ends[:, None] + np.arange(ANCHOR)].astype(np.uint16)


def _write_anchors(
    folder: Path, level: int, path: Path, num_codes: int, runs: np.ndarray, ends: tuple[np.ndarray, np.ndarray]
) -> None:
    """Write the anchors of codes in a file, sorted by hash, and the table of their buckets.

    Args:
        runs: Start and length of each held run, `[runs, 2]`.
        ends: Positions and codes of the anchors at their ends.
    """
    aligned = num_codes // STRIDE
    firsts = np.minimum(-(-runs[:, 0] // STRIDE), aligned)  # of the aligned anchors that lie within each run
    lasts = np.minimum((runs.sum(axis=1) - ANCHOR) // STRIDE + 1, aligned)
    anchors = aligned - int((lasts - firsts).sum()) + len(ends[0])
    bits = table_bits(anchors)
    table = np.zeros(2**bits + 1, np.uint32)
    with (
        ArrayFile(array_path(folder, level, "positions"), np.uint32, anchors) as positions,
        ArrayFile(array_path(folder, level, "checks"), np.uint8, anchors) as checks,
    ):
        for first, last in bucket_ranges(anchors, bits):
            hashes, starts = _anchors_within(path, (firsts, lasts), ends, first, last, bits)
            order = np.argsort(hashes, kind="stable")
            buckets, check = bucket_keys(hashes[order], 2**bits)
            counts = np.bincount(buckets - first, minlength=last - first)
            table[first + 1 : last + 1] = positions.done + np.cumsum(counts)
            positions.write(starts[order])
            checks.write(check)
    write_array(folder, level, "table", np.uint32, table)


def table_bits(entries: int, spared: int = _BITS_SPARED) -> int:
    """Return the bits of a hash that select a bucket, of up to `2**spared` of this number of entries on average."""
    return max((entries - 1).bit_length() - spared, 1)


def buckets_of(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Return the buckets of hashes, int64: their first bits."""
    return (hashes >> np.uint64(64 - bits)).astype(np.int64)


def bucket_ranges(anchors: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of buckets that hold about `_ANCHORS_SORTED` anchors each."""
    parts = min(2 ** max((anchors // _ANCHORS_SORTED).bit_length(), 0), 2**bits)
    size = 2**bits // parts
    for part in range(parts):
        yield part * size, (part + 1) * size


def _anchors_within(
    path: Path,
    held: tuple[np.ndarray, np.ndarray],
    ends: tuple[np.ndarray, np.ndarray],
    first: int,
    last: int,
    bits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes and the starts of the anchors in some buckets.

    Args:
        held: First and last (exclusive) aligned anchor within each run, which are left out.
        ends: Positions and codes of the anchors at the ends of runs.
    """
    hashes, starts = [], []

    def keep(found: np.ndarray, at: np.ndarray) -> None:
        buckets = buckets_of(found, bits)
        (inside,) = np.nonzero((buckets >= first) & (buckets < last))
        hashes.append(found[inside])
        starts.append(at[inside].astype(np.uint32))

    for begin, rows in _read_aligned(path):
        is_held = np.zeros(len(rows) + 1, np.int64)
        for bounds, change in zip(held, (1, -1), strict=True):
            np.add.at(is_held, np.clip(bounds - begin, 0, len(rows)), change)
        (free,) = np.nonzero(np.cumsum(is_held[:-1]) == 0)
        keep(gram_hashes(rows[free, :ANCHOR]), (free + begin) * STRIDE)
    keep(gram_hashes(ends[1]), ends[0])
    return np.concatenate(hashes), np.concatenate(starts)


def _read_aligned(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Read the codes in rows `[n, STRIDE]`, with the number of the first row.

    They are read, since the pages of a mapping would count as memory of this process.
    """
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (num_codes,), _, _ = np.lib.format.read_array_header_1_0(file)
        for begin in range(0, num_codes // STRIDE, _ANCHORS_READ):
            count = min(_ANCHORS_READ, num_codes // STRIDE - begin)
            yield begin, np.fromfile(file, np.uint16, count * STRIDE).reshape(count, STRIDE)


def bucket_keys(hashes: np.ndarray, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bucket, int64, and the check, uint8, of hashes."""
    bits = buckets.bit_length() - 1
    return buckets_of(hashes, bits), ((hashes << np.uint64(bits)) >> np.uint64(56)).astype(np.uint8)
