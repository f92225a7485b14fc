"""Sampling that does not copy: codes that would make an agreement with a catalogue too long are excluded.

The guarantee is about codes: no sampled code lies in a stretch of more than `longest` codes that also occurs in a song
of the catalogue. What is excluded depends on the last codes alone, so a resumed run excludes the same codes as one that
never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from ..catalogue.folder import AnyCatalogue
from ..catalogue.following import Follower
from ..catalogue.index import SEPARATOR
from ..hierarchy import Hierarchy
from .logits import Exclusion
from .options import SamplingOptions
from .parallel import segment_hop
from .values import number

_LONGEST_IN_S = 2.0


@dataclass(frozen=True)
class Avoidance:
    """The catalogue that a run avoids.

    Args:
        catalogue: Folder of the catalogue.
        digest: Hash of its content.
        longest_in_s: Seconds that an agreement with it may last.
        longest: The same in codes, per level, finest first; 0 for a level that the catalogue does not hold.
    """

    catalogue: Annotated[str, Field(min_length=1, max_length=4096)]
    digest: Annotated[str, Field(max_length=64)]
    longest_in_s: Annotated[float, Field(gt=0, le=2**20)]
    longest: list[Annotated[int, Field(ge=0, le=2**40)]]


def check_avoidance(options: SamplingOptions, catalogue: AnyCatalogue | None, hierarchy: Hierarchy) -> Avoidance | None:
    """Check the options `avoid` and `longest_in_s`, and convert seconds to codes per level.

    Raises:
        ValueError: the length is no number of seconds, is given without a catalogue, or is too short for it.
    """
    longest_in_s = options.get("longest_in_s")
    if catalogue is None:
        if longest_in_s is not None:
            raise ValueError("`longest_in_s` limits agreements with a catalogue; name the catalogue with `avoid`.")
        return None
    seconds = number("longest_in_s", _LONGEST_IN_S if longest_in_s is None else longest_in_s)
    if not 0 < seconds <= 2**20:
        raise ValueError(f"`longest_in_s` must be a number of seconds above 0, not {longest_in_s}.")
    longest = [0] * hierarchy.num_levels
    for level in catalogue.levels:
        prior, least = hierarchy.priors[level], catalogue.shortest(level)
        codes = catalogue.format.codes(level, seconds)
        if options.get("upsampling") == "parallel" and prior is not None and prior.is_upsampler:
            if least >= segment_hop(prior.n_ctx, prior.upsampling_ratio):
                raise ValueError(
                    f"{catalogue.folder} cannot be avoided in segments at level {level}, which are too short for it; "
                    "use `upsampling='sequential'`."
                )
            least *= 2  # half of it on either side of a seam
        if codes < least:
            raise ValueError(
                f"`longest_in_s` must be at least {catalogue.format.seconds(level, least):.3g} at level {level} for "
                f"{catalogue.folder}, not {seconds:g}."
            )
        longest[level] = codes
    return Avoidance(str(catalogue.folder.absolute()), catalogue.digest, seconds, longest)


def segment_longest(longest: int, n_ctx: int, upsampling_ratio: int) -> int:
    """Return the codes that an agreement may have within a segment of parallel upsampling.

    With half of `longest` on either side of a seam, and no agreement as long as a segment, which would cross two seams,
    none is longer than `longest` in the whole song.
    """
    return min(longest // 2, segment_hop(n_ctx, upsampling_ratio) - 1)


class Guard:
    """Guard of a batch of rows: excludes codes before they are sampled.

    Args:
        follower: Follower of the rows through the catalogue.
        earlier: Codes of the song before the start of each row, `[n]`, as far as they were given.

    Attributes:
        prices: For each row, the price in bits of each position at which codes were excluded.
    """

    _exclusion: Exclusion

    def __init__(self, follower: Follower, earlier: Sequence[np.ndarray]) -> None:
        self._follower, self._earlier = follower, earlier
        self._rows = np.zeros(0, np.int64)  # with excluded codes
        self.prices: list[dict[int, float]] = [{} for _ in earlier]

    def begin(self, codes: torch.Tensor, exclusion: Exclusion) -> None:
        """Take the codes `[B, filled]` that the rows have, and the exclusion that sampling reads."""
        self._exclusion = exclusion
        exclusion.mask.zero_()
        memory = self._follower.memory
        last = np.full((len(self._earlier), memory), SEPARATOR, np.uint16)
        for row, (earlier, own) in enumerate(zip(self._earlier, codes[:, -memory:].cpu().numpy(), strict=True)):
            known = np.concatenate([earlier, own])[-memory:]
            last[row, memory - len(known) :] = known
        for column in last.T[(last != SEPARATOR).any(axis=0)]:
            self._follower.observe(column)

    def exclude(self, is_sampled: np.ndarray) -> None:
        """Set the exclusion at the next position, for the rows `[B]` that sample it.

        Raises:
            ValueError: all codes would be excluded.
        """
        rows, codes = self._follower.too_long()
        rows, codes = rows[is_sampled[rows]], codes[is_sampled[rows]]
        mask = self._exclusion.mask
        if len(self._rows):
            mask.zero_()
        self._rows = np.unique(rows)
        if len(rows):
            mask[torch.from_numpy(rows).to(mask.device), torch.from_numpy(codes).to(mask.device)] = True
            if bool(mask.all(dim=1).any()):
                raise ValueError(
                    "Every code would make an agreement with the catalogue too long; choose a larger `longest_in_s`."
                )

    def take(self, codes: torch.Tensor, position: int) -> None:
        """Take the codes `[B]` sampled at a position, and note the price of what was excluded there."""
        if len(self._rows):
            bits = self._exclusion.bits.tolist()
            for row in self._rows.tolist():
                self.prices[row][position] = bits[row]
        self._follower.observe(codes.cpu().numpy().astype(np.uint16))


@dataclass(frozen=True)
class LevelAvoidance:
    """Avoidance of a catalogue at one level: makes the guards of its batches.

    Args:
        catalogue: The catalogue.
        level: The level.
        longest: Codes that an agreement may have.
    """

    catalogue: AnyCatalogue
    level: int
    longest: int

    def guard(self, longest: int, earlier: Sequence[np.ndarray]) -> Guard:
        """Return the guard of a batch that allows agreements of `longest` codes; see [`Guard`]."""
        return Guard(self.catalogue.follower(self.level, longest, len(earlier)), earlier)
