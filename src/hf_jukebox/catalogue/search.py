"""Search for the longest stretches in which codes agree with a catalogue, exactly or but for some changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .folder import Catalogue
from .index import ANCHOR

_MOST_OCCURRENCES = 1000  # of one stretch of codes, such as silence, that are looked at
_MOST_DIAGONALS = 2000  # alignments that are compared code by code: those that share most stretches
_GRAMS_AT_A_TIME = 1024
_SCALE = 1000  # shares are compared in whole thousandths


@dataclass(frozen=True)
class Agreement:
    """A stretch of codes that agrees with one of a song.

    Attributes:
        length: Codes of the stretch.
        start: Position of its first code in the piece.
        song: Number of the song in the catalogue.
        song_start: Position of its first code in the song.
        agreeing: Codes that are equal.
    """

    length: int
    start: int
    song: int
    song_start: int
    agreeing: int


def longest_agreements(
    catalogue: Catalogue,
    level: int,
    codes: np.ndarray,
    changed: Sequence[float] = (0.0, 0.2),
    except_song: int | None = None,
) -> list[Agreement | None]:
    """Find the longest agreement with a catalogue for each allowed share of changed codes.

    An agreement is found by stretches of 8 equal codes. So exact ones of at least
    [`SHORTEST`][~catalogue.index.SHORTEST] codes are always found, with these exceptions: of a stretch that occurs more
    than 1,000 times, 1,000 places are compared; of all alignments with songs, the 2,000 that share most such stretches;
    and a held code, such as silence, counts only together with codes around it. Changed or shorter ones are found if
    they share a stretch.

    Args:
        codes: Codes of the piece, `[T]`.
        changed: Shares of codes that may differ.
        except_song: Song that is not compared.

    Returns:
        One agreement per share; it begins and ends with equal codes. None if there is none.
    """
    codes = np.ascontiguousarray(codes, np.uint16)
    best: list[Agreement | None] = [None for _ in changed]
    for song, offset in _alignments(catalogue, level, codes, except_song):
        song_codes = catalogue.codes(song, level)
        first, last = max(0, -offset), min(len(codes), len(song_codes) - offset)
        agrees = codes[first:last] == song_codes[first + offset : last + offset]
        for number, share in enumerate(changed):
            start, end = longest_stretch(agrees, share)
            found = best[number]
            if end - start > (0 if found is None else found.length):
                equal = int(agrees[start:end].sum())
                best[number] = Agreement(end - start, first + start, song, first + start + offset, equal)
    return best


def longest_stretch(agrees: np.ndarray, changed: float) -> tuple[int, int]:
    """Return start and end of the longest stretch of bool `[n]` with at most this share of False.

    It begins and ends with True, and is empty if there is none.
    """
    # A stretch is good if the sum of (changed - 1 where False, changed where True) over it is not negative. Among sums
    # up to each place, the last that is at least the one at a start is found in the running maximum from the end.
    values = np.where(agrees, 0, -_SCALE) + round(changed * _SCALE)
    sums = np.concatenate([[0], np.cumsum(values)])
    (starts,) = np.nonzero(agrees)
    if not len(starts):
        return 0, 0
    ends = starts + 1
    reached = np.maximum.accumulate(sums[ends][::-1])[::-1]  # [ends], never increasing
    lasts = len(ends) - np.searchsorted(reached[::-1], sums[starts], side="left") - 1
    longest = int(np.argmax(ends[np.maximum(lasts, 0)] - starts))
    return int(starts[longest]), int(ends[lasts[longest]])


def _alignments(catalogue: Catalogue, level: int, codes: np.ndarray, except_song: int | None) -> list[tuple[int, int]]:
    """Return songs, and the position in them at which the piece would begin, by the stretches that they share."""
    if len(codes) < ANCHOR:
        return []
    index = catalogue.index(level)
    grams = np.lib.stride_tricks.sliding_window_view(codes, ANCHOR)  # [T - ANCHOR + 1, ANCHOR]
    diagonals = []
    for first in range(0, len(grams), _GRAMS_AT_A_TIME):
        rows, following = index.find(grams[first : first + _GRAMS_AT_A_TIME], _MOST_OCCURRENCES)
        starts = following - ANCHOR
        if except_song is not None:
            begin, end = catalogue.span(except_song, level)
            other = (starts < begin) | (starts >= end)
            rows, starts = rows[other], starts[other]
        diagonals.append(np.stack([starts - rows - first, starts], axis=1))
    pairs = np.concatenate(diagonals)
    # The same diagonal may pass through two songs.
    songs = catalogue.songs_at(level, pairs[:, 1])
    unique, counts = np.unique(np.stack([pairs[:, 0], songs], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_DIAGONALS]
    return [(int(song), int(diagonal) - catalogue.span(int(song), level)[0]) for diagonal, song in unique[order]]
