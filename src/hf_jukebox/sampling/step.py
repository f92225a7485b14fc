"""One code of every row, sampled in place: a step that can be repeated without the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from ..modeling_prior import DecodeState, JukeboxPrior
from .logits import Exclusion, sample_from_logits
from .options import SamplingSettings


@dataclass
class StepBuffers:
    """Everything that the steps of a window read and write besides a `DecodeState`.

    The tensors have fixed shapes and are only written in place, so that a step can be captured as a CUDA graph.
    """

    position: torch.Tensor  # [1] of the next code, counted from the window's start
    previous: torch.Tensor  # [B] the code before it
    temperature: torch.Tensor  # () float32
    noise: torch.Tensor  # [n_ctx, B] uniform in [0, 1)
    given: torch.Tensor  # [n_ctx, B] codes of prompts, -1 where a code is sampled
    codes: torch.Tensor  # [n_ctx, B] the result
    exclusion: Exclusion | None = None  # at the next position, in guarded sampling

    @classmethod
    def allocate(cls, prior: JukeboxPrior, batch_size: int, is_guarded: bool = False) -> Self:
        """Allocate the buffers of windows of `batch_size` rows, on the model's device."""
        device, shape = prior.position_embedding.device, (prior.config.n_ctx, batch_size)
        exclusion = None
        if is_guarded:
            mask = torch.zeros(batch_size, prior.config.codebook_size, dtype=torch.bool, device=device)
            exclusion = Exclusion(mask, torch.zeros(batch_size, device=device))
        return cls(
            position=torch.zeros(1, dtype=torch.long, device=device),
            previous=torch.zeros(batch_size, dtype=torch.long, device=device),
            temperature=torch.ones((), dtype=torch.float32, device=device),
            noise=torch.zeros(shape, dtype=torch.float32, device=device),
            given=torch.full(shape, -1, dtype=torch.long, device=device),
            codes=torch.zeros(shape, dtype=torch.long, device=device),
            exclusion=exclusion,
        )

    def begin(
        self, position: int, previous: torch.Tensor, noise: torch.Tensor, given: torch.Tensor, temperature: float
    ) -> None:
        """Prepare the steps of a window from `position` on.

        Args:
            previous: `[B]`, the codes before `position`; ignored at position 0.
            noise: `[B, n]`, of the n positions of the window.
            given: `[B, n]`, codes of prompts, -1 where a code is sampled.
        """
        self.position.fill_(position)
        self.previous.copy_(previous)
        self.temperature.fill_(temperature)
        self.noise[: noise.shape[1]] = noise.T
        self.given[: given.shape[1]] = given.T


def sample_code(prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings) -> None:
    """Sample the code of every row at `buffers.position`, and advance the position.

    Nothing here waits for the host and all shapes are fixed: the step can be compiled, and captured as a CUDA graph.
    """
    position = buffers.position
    noise, given = (rows.index_select(0, position)[0] for rows in (buffers.noise, buffers.given))
    logits = prior.step(state, buffers.previous, position)
    code = sample_from_logits(logits, noise, settings, buffers.temperature, buffers.exclusion)
    # Not `given >= 0`: PyTorch 2.13 with GCC 12 compiles a choice of integers by >=, <= or != wrongly for AVX2.
    code = torch.where(given < 0, code, given)
    buffers.codes.index_copy_(0, position, code[None])
    buffers.previous.copy_(code)
    position.add_(1)
