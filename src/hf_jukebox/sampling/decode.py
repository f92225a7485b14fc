"""Decoding of a level to audio, block by block, with the seams of parallel upsampling cross-faded.

A block is a function of the codes that it depends on. So a block that is decoded while the rest is being sampled has
the bits that it has in the finished file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..allocator import return_freed_memory
from ..modeling_vqvae import JukeboxVQVAE
from .parallel import Seam, fade_seam, own_codes
from .state import LevelCodes

_FADE_IN_S = 0.02  # at the seams of parallel upsampling


@dataclass(frozen=True)
class AudioBlock:
    """Audio of a part of a song at one level, which does not change any more.

    Attributes:
        level: Level that it is decoded from.
        song: Index of the song.
        start: First sample, counted from the start of the song.
        samples: `[t]` float32 in [-1, 1].
        sampling_rate: Samples per second.
        is_last: True for the last block of the song at this level.
    """

    level: int
    song: int
    start: int
    samples: np.ndarray
    sampling_rate: int
    is_last: bool

    @property
    def position_in_s(self) -> float:
        """Start in seconds, counted from the start of the song."""
        return self.start / self.sampling_rate


class SongDecoder:
    """Decoder of a song at one level, whose blocks are yielded once, as soon as their codes exist.

    Args:
        length: Codes of the song at this level, when it is finished.
        device: Device of the VQ-VAE; the audio is on the CPU.
    """

    def __init__(
        self, vqvae: JukeboxVQVAE, level_codes: LevelCodes, level: int, song: int, length: int, device: torch.device
    ) -> None:
        self.vqvae, self.level_codes, self.level, self.song = vqvae, level_codes, level, song
        self.length, self.device = length, device
        config = vqvae.config
        self._hop, self._rate = config.hop_lengths[level], config.sampling_rate
        self._fade = round(_FADE_IN_S * self._rate / self._hop)
        self._context = vqvae.decoder_context(level)
        self._waiting = deque(vqvae.decoding_blocks(length, level))
        self._own: tuple[int, torch.Tensor] = (-1, torch.empty(0, device="cpu"))  # position and audio of the last seam

    @property
    def num_needed(self) -> int | None:
        """Number of codes, from the start of the song, that the next block depends on; None after the last."""
        if not self._waiting:
            return None
        # A segment that begins soon after a block is cross-faded into it.
        return min(self._waiting[0][1] + max(self._context, self._fade), self.length)

    def is_due(self, num_filled: int) -> bool:
        """Return whether the next block may be decoded when the song has this many codes."""
        return (needed := self.num_needed) is not None and num_filled >= needed

    def __iter__(self) -> Iterator[AudioBlock]:
        """Yield the next blocks for which there are codes."""
        while (needed := self.num_needed) is not None:
            start, end = self._waiting[0]
            seams = self._seams_around(start, end)
            reach = [min(seam.position + 2 * len(seam.warm_up), self.length) for seam in seams]
            if self.level_codes.num_filled[self.song] < max([needed, *reach]):
                return
            samples = self._decode(start, end, seams)
            self._waiting.popleft()
            yield AudioBlock(
                self.level, self.song, start * self._hop, samples.numpy(), self._rate, is_last=not self._waiting
            )
            if self._waiting and self.device.type == "cpu":
                return_freed_memory()

    def _decode(self, start: int, end: int, seams: list[Seam]) -> torch.Tensor:
        codes = self.level_codes.codes[self.song, : self.length]
        first = max(start - self._context, 0)
        near = codes[None, first : end + self._context].to(self.device)
        block = self.vqvae.decode_block(near, start - first, end - first, self.level)[0].float().cpu()
        for seam in seams:
            if self._own[0] != seam.position:
                own = self.vqvae.decode(own_codes(codes, seam)[None].to(self.device), self.level)[0]
                self._own = (seam.position, own.float().cpu())
            block = fade_seam(block, start, seam, self._own[1], self.length, self._hop, self._fade)
        return block.clamp(-1, 1)

    def _seams_around(self, start: int, end: int) -> list[Seam]:
        """Return the seams that may change a block, in order."""
        seams = [seam for seam in self.level_codes.seams[self.song] if seam.position < self.length]
        near = [
            seam for seam in seams if seam.position - self._fade < end and seam.position + 2 * len(seam.warm_up) > start
        ]
        return sorted(near, key=lambda seam: seam.position)
