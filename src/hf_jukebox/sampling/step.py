"""One code of every row, or several of one, sampled in place: a step that can be repeated without the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from ..modeling_prior import DecodeState, JukeboxPrior
from .guesses import Guesses
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
    guesses: Guesses | None = None  # of a step that samples several codes

    @classmethod
    def allocate(cls, prior: JukeboxPrior, batch_size: int, is_guarded: bool = False, most_codes: int = 1) -> Self:
        """Allocate the buffers of windows of `batch_size` rows, on the model's device.

        Args:
            most_codes: Codes that a step may sample; more than one for one row that is not guarded.
        """
        device, shape = prior.position_embedding.device, (prior.config.n_ctx, batch_size)
        exclusion = None
        if is_guarded:
            mask = torch.zeros(batch_size, prior.config.codebook_size, dtype=torch.bool, device=device)
            exclusion = Exclusion(mask, torch.zeros(batch_size, dtype=torch.float32, device=device))
        return cls(
            position=torch.zeros(1, dtype=torch.long, device=device),
            previous=torch.zeros(batch_size, dtype=torch.long, device=device),
            temperature=torch.ones((), dtype=torch.float32, device=device),
            noise=torch.zeros(shape, dtype=torch.float32, device=device),
            given=torch.full(shape, -1, dtype=torch.long, device=device),
            codes=torch.zeros(shape, dtype=torch.long, device=device),
            exclusion=exclusion,
            guesses=Guesses.allocate(most_codes, device) if most_codes > 1 else None,
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
        if self.guesses is not None:
            self.guesses.begin(self.previous)


def sample_code(prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings) -> None:
    """Sample the code of every row at `buffers.position`, and advance the position.

    With guesses, sample as many codes as are right. Nothing here waits for the host and all shapes are fixed: the step
    can be compiled, and captured as a CUDA graph.
    """
    if buffers.guesses is not None:
        return _sample_guessed(prior, state, buffers, settings, buffers.guesses)
    position = buffers.position
    noise, given = (rows.index_select(0, position)[0] for rows in (buffers.noise, buffers.given))
    logits = prior.step(state, buffers.previous, position)
    code = sample_from_logits(logits, noise, settings, buffers.temperature, buffers.exclusion)
    # Not `given >= 0`: PyTorch 2.13 with GCC 12 compiles a choice of integers by >=, <= or != wrongly for AVX2.
    code = torch.where(given < 0, code, given)
    buffers.codes.index_copy_(0, position, code[None])
    buffers.previous.copy_(code)
    position.add_(1)


def _sample_guessed(
    prior: JukeboxPrior, state: DecodeState, buffers: StepBuffers, settings: SamplingSettings, guesses: Guesses
) -> None:
    """Sample up to `guesses.count` codes of one song, and advance the position by those that are right."""
    position = buffers.position
    columns = prior.transformer.shape.attention.columns
    column = (position + prior.config.num_joint_lyrics) % columns
    count = guesses.count.minimum(columns - column)  # the kernels take positions of one row of columns
    rows = torch.arange(len(guesses.codes) + 1, device=position.device)
    sampled = rows.minimum(count - 1)  # the last one, again, in place of those that are not sampled
    positions = position + sampled
    noise, given = (each.index_select(0, positions)[:, 0] for each in (buffers.noise, buffers.given))
    logits = prior.step(state, torch.cat([buffers.previous, guesses.codes]), positions, count)
    codes = sample_from_logits(logits, noise, settings, buffers.temperature)
    codes = torch.where(given < 0, codes, given).index_select(0, sampled)
    num_right = guesses.check(codes, count)
    buffers.codes.index_copy_(0, positions, codes[:, None])  # those beyond the right ones are sampled again
    buffers.previous.copy_(codes.index_select(0, num_right))
    position.add_(num_right + 1)
