"""Encoding of chunks, bit-identical to encoding their whole songs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from ...configuration_jukebox import JukeboxPriorConfig
from ...hierarchy import Hierarchy
from ...modeling_vqvae import JukeboxVQVAE

_BLOCK = 2**16  # samples encoded at a time, approximately


@dataclass(frozen=True)
class EncodingSpan:
    """Range of samples to read from a song to encode a chunk.

    Attributes:
        first, last: First sample, and last sample (exclusive).
        lead: Samples at the front that only provide context for the first block.
        skipped: Samples between the start of the first block and the chunk.
    """

    first: int
    last: int
    lead: int
    skipped: int


@dataclass(frozen=True)
class BlockGrid:
    """Grid of the blocks in which songs are encoded.

    Blocks have fixed positions in a song, and each is encoded with everything that its codes depend on. So a code is
    bit-identical whichever chunk it is encoded for.

    Attributes:
        block: Samples per block.
        context: Samples on either side that its codes may depend on.
    """

    block: int
    context: int

    @classmethod
    def from_vqvae(cls, vqvae: JukeboxVQVAE) -> Self:
        """Make the grid of a VQ-VAE: both lengths are multiples of its top hop."""
        hops = vqvae.config.hop_lengths
        reach = max(vqvae.encoder_context(level) * hop for level, hop in enumerate(hops))
        return cls(*(-(-samples // hops[-1]) * hops[-1] for samples in (_BLOCK, reach)))

    def span(self, start: int, length: int, usable_length: int) -> EncodingSpan:
        """Return the span of the blocks that a chunk overlaps, in a song of `usable_length` samples.

        Args:
            start, length: First sample of the chunk, and its number of samples.
            usable_length: Length of the song, a multiple of the top hop.
        """
        block_start = start // self.block * self.block
        block_end = -(-(start + length) // self.block) * self.block
        first = max(block_start - self.context, 0)
        last = min(block_end + self.context, usable_length)
        return EncodingSpan(first, last, block_start - first, start - block_start)


def encode_blocks(
    vqvae: JukeboxVQVAE, audio: torch.Tensor, lead: int, length: int, levels: Sequence[int]
) -> list[torch.Tensor]:
    """Encode the blocks that hold the first `length` samples after `lead`.

    Args:
        vqvae: VQ-VAE in evaluation mode.
        audio: Audio `[T]` of a span, or of a whole song.
        lead: Samples before the first block.
        length: Samples from the start of the first block that must be encoded.
        levels: Levels of the codes.

    Returns:
        Codes `[T_level]` per level of `levels`.
    """
    grid, hops = BlockGrid.from_vqvae(vqvae), vqvae.config.hop_lengths
    blocks = []
    for start in range(lead, lead + length, grid.block):
        first = max(start - grid.context, 0)
        with_context = audio[None, first : start + grid.block + grid.context].to(vqvae.device, copy=True)  # [1, T]
        encoded = zip(levels, vqvae.encode(with_context, levels), strict=True)
        blocks.append(
            [codes[0, (start - first) // hops[level] :][: grid.block // hops[level]] for level, codes in encoded]
        )
    return [torch.cat(level_codes) for level_codes in zip(*blocks, strict=True)]


class ChunkEncoder:
    """Encoder of audio batches into the inputs of a prior. It does not change the VQ-VAE.

    Args:
        vqvae: VQ-VAE in evaluation mode, on the device where the batches are needed.
        config: Config of the prior.

    Raises:
        ValueError: the prior was made for another VQ-VAE.
    """

    def __init__(self, vqvae: JukeboxVQVAE, config: JukeboxPriorConfig) -> None:
        Hierarchy.of(vqvae.config, [config])
        self.vqvae = vqvae
        self.window_length = config.window_length
        self.levels = [config.level, config.level + 1] if config.is_upsampler else [config.level]

    def __call__(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return `codes` `[B, n_ctx]` and, if the prior has them, `upper_codes` `[B, n_ctx / ratio]` and `labels`.

        Args:
            batch: Batch from a [`ChunkReader`] with blocks: `audio`, one `[T]` per chunk, `lead` and `skipped` `[B]`.
        """
        rows = zip(batch["audio"], batch["lead"].tolist(), batch["skipped"].tolist(), strict=True)
        levels = zip(*(self._encode(*row) for row in rows), strict=True)
        names = ("codes", "upper_codes")
        result = {name: torch.stack(codes) for name, codes in zip(names, levels, strict=False)}  # [B, codes]
        if "labels" in batch:
            result["labels"] = batch["labels"].to(self.vqvae.device)
        return result

    def _encode(self, audio: torch.Tensor, lead: int, skipped: int) -> list[torch.Tensor]:
        hops = [self.vqvae.config.hop_lengths[level] for level in self.levels]
        end = skipped + self.window_length
        codes = encode_blocks(self.vqvae, audio, lead, end, self.levels)
        return [level_codes[skipped // hop : end // hop] for level_codes, hop in zip(codes, hops, strict=True)]
