"""Songs as codes of several levels, cut to the same length."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from ..hierarchy import Hierarchy
from ..modeling_vqvae import JukeboxVQVAE
from ..sampling.known import check_codes
from .recordings import Recording, encode_recording


@dataclass(frozen=True)
class CodedSong:
    """A song as codes.

    Args:
        name: Name of its recording, or its number.
        codes: Codes `[T_level]` per level, finest first, on the CPU; empty at levels that are not needed.
        top_codes: Length in top-level codes.
    """

    name: str
    codes: Sequence[torch.Tensor]
    top_codes: int

    @classmethod
    def cut(cls, name: str, codes: Sequence[torch.Tensor], hops: Sequence[int]) -> Self:
        """Cut the codes of all levels to the same number of whole top-level codes."""
        shortest = min(len(row) * hop // hops[-1] for row, hop in zip(codes, hops, strict=True) if len(row))
        return cls(name, [row[: shortest * hops[-1] // hop] for row, hop in zip(codes, hops, strict=True)], shortest)


def levels_with_codes(codes: Sequence[torch.Tensor | None], hierarchy: Hierarchy) -> list[int]:
    """Return the levels that have a prior and codes."""
    pairs = enumerate(zip(codes, hierarchy.priors, strict=False))
    return [level for level, (each, prior) in pairs if prior is not None and each is not None and each.shape[1]]


def songs_of_codes(
    codes: Sequence[torch.Tensor | None], hierarchy: Hierarchy, levels: Collection[int]
) -> list[CodedSong]:
    """Return the songs of codes that a caller gives, one entry per level, with all that scoring `levels` needs.

    Raises:
        ValueError: codes are missing or do not fit the model.
    """
    hops = hierarchy.vqvae.hop_lengths
    given = [each for each in zip(codes, hops, strict=False) if each[0] is not None]
    longest = max((-(-each.shape[1] * hop // hops[-1]) for each, hop in given if each is not None), default=0)
    known, needed = check_codes(codes, hierarchy, longest), _needed(levels, hierarchy)
    for level in sorted(needed):
        if not known[level].codes.shape[1]:
            raise ValueError(f"codes has no codes of level {level}, which are needed; give those.")
    # What is not needed may be shorter, such as a level that is still being sampled.
    rows = [each.codes.cpu() if level in needed else each.codes[:, :0] for level, each in enumerate(known)]
    return [CodedSong.cut(f"song {song}", [row[song] for row in rows], hops) for song in range(len(rows[0]))]


def encode_songs(
    vqvae: JukeboxVQVAE,
    recordings: Iterable[Recording],
    hierarchy: Hierarchy,
    levels: Collection[int],
    device: torch.device,
) -> Iterator[CodedSong]:
    """Yield recordings as songs, encoded at all levels that scoring `levels` needs.

    Raises:
        OSError, ValueError: a recording cannot be read, or is too short.
    """
    needed = _needed(levels, hierarchy) | {hierarchy.num_levels - 1}
    nothing = torch.zeros(0, dtype=torch.long)
    for recording in recordings:
        codes = [
            encode_recording(vqvae, recording, level, device) if level in needed else nothing
            for level in range(hierarchy.num_levels)
        ]
        yield CodedSong.cut(recording.name, codes, hierarchy.vqvae.hop_lengths)


def _needed(levels: Collection[int], hierarchy: Hierarchy) -> set[int]:
    """Return the levels and those above them, which condition their priors."""
    return set(levels) | {level + 1 for level in levels if level + 1 < hierarchy.num_levels}
