"""The codes that exist before anything is drawn: of a prompt, or of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..audio.prompts import Prompt
from ..hierarchy import Hierarchy
from ..modeling_vqvae import JukeboxVQVAE

_INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64}


@dataclass
class KnownCodes:
    """Codes of one level that exist: `codes` `[B, longest]`, of which the first `lengths` count, one a song.

    Args:
        seams: Of each song where segments take over, and their warm-up; empty where there are none.
    """

    codes: torch.Tensor
    lengths: list[int]
    seams: list[dict[int, torch.Tensor]] = field(default_factory=list)

    def of_songs(self, rows: Sequence[int]) -> KnownCodes:
        """The codes that count of some songs; each may be taken more than once."""
        lengths = [self.lengths[row] for row in rows]
        seams = [{at: codes for at, codes in self.seams[row].items() if at < self.lengths[row]} for row in rows]
        return KnownCodes(self.codes[rows, : max(lengths)], lengths, seams)

    def for_songs(self, num_songs: int) -> KnownCodes:
        """Each row repeated, so that there are `num_songs`, candidates of a prompt next to each other."""
        if num_songs % len(self.lengths):
            raise ValueError(f"There are prompts or codes for {len(self.lengths)} songs, but labels for {num_songs}.")
        times = num_songs // len(self.lengths)
        lengths = [length for length in self.lengths for _ in range(times)]
        return KnownCodes(self.codes.repeat_interleave(times, 0), lengths)


def encode_prompts(vqvae: JukeboxVQVAE, prompts: Sequence[Prompt], device: torch.device) -> list[KnownCodes]:
    """Codes of every level of prompts at the model's rate, each of whole top-level codes, or empty."""
    hops = vqvae.config.hop_lengths
    longest = max(len(prompt) for prompt in prompts)
    lengths = [[len(prompt) // hop for prompt in prompts] for hop in hops]
    codes = [torch.zeros(len(prompts), longest // hop, dtype=torch.long, device=device) for hop in hops]
    # One by one: prompts differ in length, and padding a shorter one would change its last codes.
    for song, prompt in enumerate(prompts):
        if len(prompt) == 0:
            continue
        for level, of_song in enumerate(vqvae.encode(torch.from_numpy(prompt.samples).to(device)[None])):
            codes[level][song, : of_song.shape[1]] = of_song[0]
    return [KnownCodes(*pair) for pair in zip(codes, lengths, strict=True)]


def cut_prompts(prompts: Sequence[Prompt], hierarchy: Hierarchy, top_codes: int) -> list[Prompt]:
    """Cut prompts down to whole top-level codes; an empty one, of a song that is made up, stays so.

    Raises:
        ValueError: a prompt is longer than the piece, or shorter than one top-level code.
    """
    rate, hop = hierarchy.vqvae.sampling_rate, hierarchy.top_hop
    cut = [replace(prompt, samples=prompt.samples[: len(prompt) // hop * hop]) for prompt in prompts]
    for prompt, original in zip(cut, prompts, strict=True):
        if len(prompt) == 0 and len(original) > 0:
            raise ValueError(
                f"The prompt of {len(original) / rate:.4f} s is shorter than one top-level code of {hop / rate:.4f} s; "
                "use a longer one."
            )
        if len(prompt) > top_codes * hop:
            raise ValueError(
                f"The prompt of {len(prompt) / rate:.2f} s is longer than the piece of {top_codes * hop / rate:.2f} s; "
                "set a smaller prompt_length_in_s, or a larger audio_length_in_s."
            )
    return cut


def as_codes(codes: Any) -> list[torch.Tensor | None] | None:
    """The codes that a caller gives, one tensor or None a level; numpy arrays are taken too.

    Raises:
        ValueError: they are no list with one entry a level.
    """
    if codes is None:
        return None
    if not isinstance(codes, list | tuple):
        raise ValueError(
            f"codes must be a list with one tensor or None a level, finest first, not a {type(codes).__name__}."
        )
    tensors = []
    for level, of_level in enumerate(codes):
        of_level = torch.from_numpy(of_level) if isinstance(of_level, np.ndarray) else of_level
        if of_level is not None and (not isinstance(of_level, torch.Tensor) or of_level.dim() != 2):
            kind = list(of_level.shape) if isinstance(of_level, torch.Tensor) else type(of_level).__name__
            raise ValueError(f"The codes of level {level} must be integers [songs, T], or None, not {kind}.")
        tensors.append(of_level)
    return tensors


def check_codes(codes: Sequence[torch.Tensor | None], hierarchy: Hierarchy, top_codes: int) -> list[KnownCodes]:
    """Codes of an earlier run, one entry a level, as known codes; `top_codes` is the length of the piece.

    Raises:
        ValueError: wrong number of levels or songs, shape, range, or longer than the piece.
    """
    config = hierarchy.vqvae
    if len(codes) != config.num_levels:
        raise ValueError(f"codes needs one entry for each of the {config.num_levels} levels, not {len(codes)}.")
    num_songs = max((of_level.shape[0] for of_level in codes if of_level is not None), default=1)
    known = []
    for level, of_level in enumerate(codes):
        of_level = torch.zeros(num_songs, 0, dtype=torch.long) if of_level is None else of_level
        limit = hierarchy.codes(level, top_codes)
        if of_level.dtype not in _INTEGERS or of_level.shape[0] != num_songs:
            raise ValueError(
                f"The codes of level {level} must be integers [{num_songs}, T], not "
                f"{of_level.dtype} {list(of_level.shape)}."
            )
        if of_level.shape[1] > limit:
            raise ValueError(
                f"{of_level.shape[1]} codes of level {level} are longer than the piece, which has {limit}; ask for a "
                "larger audio_length_in_s."
            )
        if of_level.numel() and not 0 <= int(of_level.min()) <= int(of_level.max()) < config.codebook_size:
            raise ValueError(f"The codes of level {level} must lie between 0 and {config.codebook_size - 1}.")
        known.append(KnownCodes(of_level.long(), [of_level.shape[1]] * num_songs))
    return known
