"""Codes of chunks of songs: bit by bit those of the whole song there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from ...configuration_jukebox import JukeboxPriorConfig
from ...hierarchy import Hierarchy
from ...modeling_vqvae import JukeboxVQVAE

_BLOCK = 2**16  # samples that are encoded at a time, about

# What of a configuration the codes depend on. Losses and decoders may change without making codes stale.
_CODE_FIELDS = (
    "sampling_rate",
    "downs_t",
    "strides_t",
    "codebook_size",
    "codebook_dim",
    "width",
    "depth",
    "multipliers",
    "hidden_multiplier",
    "dilation_growth_rate",
    "dilation_cycle",
    "res_scale",
)


def fingerprint(vqvae: JukeboxVQVAE) -> str:
    """A hash of all that the codes depend on: encoders, codebooks and the settings that shape them."""
    settings = {name: getattr(vqvae.config, name) for name in _CODE_FIELDS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(vqvae.state_dict().items()):
        if name.startswith("encoders.") or name.endswith(".codebook"):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Span:
    """What to read of a song for the codes of a chunk.

    Attributes:
        first, last: Samples of the song where the stretch begins and ends (exclusive).
        lead: Samples at its front that are only there for the first block's codes.
        skipped: Samples between the first block's start and the chunk.
    """

    first: int
    last: int
    lead: int
    skipped: int


@dataclass(frozen=True)
class BlockGrid:
    """The blocks in which songs are encoded.

    Their places in a song are fixed, and each is encoded with all that its codes depend on. So a code does not depend,
    not by a bit, on the chunk that it is encoded for.

    Attributes:
        block: Samples of a block.
        context: Samples on either side that its codes may depend on.
    """

    block: int
    context: int

    @classmethod
    def of(cls, vqvae: JukeboxVQVAE) -> Self:
        hops = vqvae.config.hop_lengths
        reach = max(vqvae._encoder_context(level) * hop for level, hop in enumerate(hops))
        return cls(*(-(-samples // hops[-1]) * hops[-1] for samples in (_BLOCK, reach)))

    def span(self, start: int, length: int, usable: int) -> Span:
        """The blocks that a chunk touches, of a song of `usable` samples, a multiple of the top hop."""
        block_start = start // self.block * self.block
        block_end = -(-(start + length) // self.block) * self.block
        first = max(block_start - self.context, 0)
        return Span(first, min(block_end + self.context, usable), block_start - first, start - block_start)


def encode_blocks(
    vqvae: JukeboxVQVAE, audio: torch.Tensor, lead: int, length: int, levels: Sequence[int]
) -> list[torch.Tensor]:
    """Codes of each of `levels`, in the blocks that hold the first `length` samples after `lead`.

    Args:
        vqvae: In evaluation mode.
        audio: A stretch `[T]`, or a whole song.
        lead: Samples in front of its first block.

    Returns:
        `[T_level]` for each level.
    """
    grid, hops = BlockGrid.of(vqvae), vqvae.config.hop_lengths
    pieces = []
    for start in range(lead, lead + length, grid.block):
        first = max(start - grid.context, 0)
        heard = audio[None, first : start + grid.block + grid.context].to(vqvae.device, copy=True)
        codes = zip(levels, vqvae.encode(heard, levels), strict=True)
        pieces.append([of[0, (start - first) // hops[level] :][: grid.block // hops[level]] for level, of in codes])
    return [torch.cat(of_level) for of_level in zip(*pieces, strict=True)]


class ChunkEncoder:
    """Turns the audio of a batch into what a prior is trained on. The VQ-VAE stays as it is.

    Args:
        vqvae: In evaluation mode, on the device where batches are wanted.
        config: Of the prior.

    Raises:
        ValueError: the prior was made for another VQ-VAE.
    """

    def __init__(self, vqvae: JukeboxVQVAE, config: JukeboxPriorConfig) -> None:
        Hierarchy.of(vqvae.config, [config])
        self.vqvae = vqvae
        self.window_length = config.window_length
        self.levels = [config.level, config.level + 1] if config.is_upsampler else [config.level]

    def __call__(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """`codes` `[B, n_ctx]` and, where the prior has them, `upper_codes` `[B, n_ctx / ratio]` and `labels`.

        Args:
            batch: Of a [`ChunkReader`] with blocks: `audio`, one row `[T]` a chunk, `lead` and `skipped` `[B]`.
        """
        rows = zip(batch["audio"], batch["lead"].tolist(), batch["skipped"].tolist(), strict=True)
        of_levels = zip(*(self._encode(*row) for row in rows), strict=True)
        names = ("codes", "upper_codes")
        result = {name: torch.stack(codes) for name, codes in zip(names, of_levels, strict=False)}  # [B, codes]
        if "labels" in batch:
            result["labels"] = batch["labels"].to(self.vqvae.device)
        return result

    def _encode(self, audio: torch.Tensor, lead: int, skipped: int) -> list[torch.Tensor]:
        hops = [self.vqvae.config.hop_lengths[level] for level in self.levels]
        end = skipped + self.window_length
        codes = encode_blocks(self.vqvae, audio, lead, end, self.levels)
        return [of_level[skipped // hop : end // hop] for of_level, hop in zip(codes, hops, strict=True)]
