"""Decoding of a level to audio, block by block, with the seams of parallel upsampling cross-faded."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..modeling_vqvae import JukeboxVQVAE
from .parallel import fade_seams
from .state import LevelCodes

_FADE_IN_S = 0.02  # at the seams of parallel upsampling


def iter_decode_song(
    vqvae: JukeboxVQVAE, level_codes: LevelCodes, level: int, song: int, length: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Decode the first `length` codes of a song to blocks of audio, `[t]` float32 in [-1, 1] on the CPU.

    A song with seams is one block; of others no more than a chunk of the VQ-VAE is in memory at a time.
    """
    codes = level_codes.codes[song, :length]
    seams = [seam for seam in level_codes.seams[song] if seam.position < length]
    blocks = _iter_decode(vqvae, codes, level, device)
    if seams:
        config = vqvae.config
        hop = config.hop_lengths[level]
        audio = torch.cat(list(blocks))
        fade = round(_FADE_IN_S * config.sampling_rate / hop)
        seams.sort(key=lambda seam: seam.position)
        fade_seams(
            audio, codes, seams, lambda part: torch.cat(list(_iter_decode(vqvae, part, level, device))), hop, fade
        )
        blocks = iter([audio])
    for block in blocks:
        yield block.clamp(-1, 1)


def _iter_decode(vqvae: JukeboxVQVAE, codes: torch.Tensor, level: int, device: torch.device) -> Iterator[torch.Tensor]:
    for block in vqvae.iter_decode(codes[None].to(device), level):
        yield block[0].float().cpu()
