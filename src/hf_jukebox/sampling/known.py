"""Codes that exist before sampling starts: those of a prompt, or of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..audio.prompts import Prompt
from ..hierarchy import Hierarchy
from ..layers.quantizer import are_codes
from ..modeling_vqvae import JukeboxVQVAE
from .parallel import Seam

_INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64}


@dataclass
class KnownCodes:
    """Existing codes of one level: `codes` `[B, longest]`, of which the first `lengths` count, per song.

    Args:
        seams: Seams of parallel upsampling, per song; an empty list where no song has any.
        avoided: Price in bits of each position at which codes were excluded, per song; an empty list where no song has
            any. See [`~sampling.avoiding.Guard`].
    """

    codes: torch.Tensor
    lengths: list[int]
    seams: list[list[Seam]] = field(default_factory=list)
    avoided: list[dict[int, float]] = field(default_factory=list)

    def are_codes(self, codebook_size: int) -> bool:
        """Return whether all of them, and those at the seams, are rows of a codebook of this size."""
        warm_ups = (seam.warm_up for song_seams in self.seams for seam in song_seams)
        return all(are_codes(each, codebook_size) for each in (self.codes, *warm_ups))

    def select(self, rows: Sequence[int]) -> KnownCodes:
        """Return the codes of some songs; a song may be selected more than once."""
        lengths = [self.lengths[row] for row in rows]
        seams = [[seam for seam in self.seams[row] if seam.position < self.lengths[row]] for row in rows]
        avoided = [
            {position: bits for position, bits in self.avoided[row].items() if position < self.lengths[row]}
            for row in (rows if self.avoided else ())
        ]
        return KnownCodes(self.codes[rows, : max(lengths)], lengths, seams, avoided)

    def repeat_for(self, num_songs: int) -> KnownCodes:
        """Repeat each row, so that there are `num_songs`, with the candidates of a prompt side by side."""
        if num_songs % len(self.lengths):
            raise ValueError(f"There are prompts or codes for {len(self.lengths)} songs, but labels for {num_songs}.")
        times = num_songs // len(self.lengths)
        lengths = [length for length in self.lengths for _ in range(times)]
        return KnownCodes(self.codes.repeat_interleave(times, 0), lengths)


def encode_prompts(vqvae: JukeboxVQVAE, prompts: Sequence[Prompt], device: torch.device) -> list[KnownCodes]:
    """Encode prompts at the model's rate, each of whole top-level codes or empty; return the codes of every level."""
    hops = vqvae.config.hop_lengths
    longest = max(len(prompt) for prompt in prompts)
    lengths = [[len(prompt) // hop for prompt in prompts] for hop in hops]
    codes = [torch.zeros(len(prompts), longest // hop, dtype=torch.long, device=device) for hop in hops]
    # One by one: prompts differ in length, and padding a shorter one would change its last codes.
    for song, prompt in enumerate(prompts):
        if len(prompt) == 0:
            continue
        for level, song_codes in enumerate(vqvae.encode(torch.from_numpy(prompt.samples).to(device)[None])):
            codes[level][song, : song_codes.shape[1]] = song_codes[0]
    return [KnownCodes(*pair) for pair in zip(codes, lengths, strict=True)]


def cut_prompts(prompts: Sequence[Prompt], hierarchy: Hierarchy, top_codes: int) -> list[Prompt]:
    """Cut prompts down to whole top-level codes; that of a song without a prompt stays empty.

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
                "set a smaller `prompt_length_in_s`, or a larger `audio_length_in_s`."
            )
    return cut


def as_codes(codes: Any) -> list[torch.Tensor | None] | None:
    """Return the codes that a caller gives as tensors, one or None per level; numpy arrays are converted.

    Raises:
        ValueError: they are not a list with one entry per level.
    """
    if codes is None:
        return None
    if not isinstance(codes, list | tuple):
        raise ValueError(
            f"`codes` must be a list with one tensor or None per level, finest first, not a {type(codes).__name__}."
        )
    tensors = []
    for level, level_codes in enumerate(codes):
        level_codes = torch.from_numpy(level_codes) if isinstance(level_codes, np.ndarray) else level_codes
        if level_codes is not None and (not isinstance(level_codes, torch.Tensor) or level_codes.dim() != 2):
            kind = list(level_codes.shape) if isinstance(level_codes, torch.Tensor) else type(level_codes).__name__
            raise ValueError(f"The codes of level {level} must be integers [songs, T], or None, not {kind}.")
        tensors.append(level_codes)
    return tensors


def check_codes(codes: Sequence[torch.Tensor | None], hierarchy: Hierarchy, top_codes: int) -> list[KnownCodes]:
    """Check the codes of an earlier run, one entry per level; `top_codes` is the length of the piece.

    Raises:
        ValueError: wrong number of levels or songs, shape, range, or longer than the piece.
    """
    config = hierarchy.vqvae
    if len(codes) != config.num_levels:
        raise ValueError(f"`codes` needs one entry for each of the {config.num_levels} levels, not {len(codes)}.")
    num_songs = max((level_codes.shape[0] for level_codes in codes if level_codes is not None), default=1)
    known = []
    for level, level_codes in enumerate(codes):
        level_codes = torch.zeros(num_songs, 0, dtype=torch.long, device="cpu") if level_codes is None else level_codes
        limit = hierarchy.codes(level, top_codes)
        if level_codes.dtype not in _INTEGERS or level_codes.shape[0] != num_songs:
            raise ValueError(
                f"The codes of level {level} must be integers [{num_songs}, T], not "
                f"{level_codes.dtype} {list(level_codes.shape)}."
            )
        if level_codes.shape[1] > limit:
            raise ValueError(
                f"{level_codes.shape[1]} codes of level {level} are longer than the piece, which has {limit}; ask for "
                "a larger `audio_length_in_s`."
            )
        if not are_codes(level_codes, config.codebook_size):
            raise ValueError(f"The codes of level {level} must lie between 0 and {config.codebook_size - 1}.")
        known.append(KnownCodes(level_codes.long(), [level_codes.shape[1]] * num_songs))
    return known
