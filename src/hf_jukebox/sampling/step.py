"""One code of every row, sampled in place: a step that can be repeated without the host.

A step reads all weights, which takes most of its time. For one song it can sample the codes after the next one as well,
given guesses of the codes before them. The random number of a position and the codes before it decide its code, so a
guess is checked by sampling that position: up to the first wrong guess, and with the code in its place, a step samples
what steps of one code would. What it samples beyond are the next guesses, which are better. That is the fixed-point
iteration of Song et al. 2021 ("Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving") with the
fixed random numbers of predictive sampling (Wiggers and Hoogeboom 2020), and needs no second model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch

from ..modeling_prior import DecodeState, JukeboxPrior
from .logits import Exclusion, sample_from_logits
from .options import SamplingSettings


@dataclass
class Guesses:
    """Codes of one song that a step takes for granted until it has sampled them."""

    codes: torch.Tensor  # [most - 1], those after the next one
    count: torch.Tensor  # [1] codes to sample, 1 to `most`: the next one and some that are guessed

    @classmethod
    def allocate(cls, most: int, device: torch.device) -> Self:
        """Allocate guesses for steps of up to `most` codes."""
        codes = torch.zeros(most - 1, dtype=torch.long, device=device)
        return cls(codes, torch.ones(1, dtype=torch.long, device=device))


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
            exclusion = Exclusion(mask, torch.zeros(batch_size, device=device))
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
            self.guesses.codes.copy_(self.previous.expand_as(self.guesses.codes))


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
    position, most = buffers.position, len(guesses.codes) + 1
    columns = prior.transformer.shape.attention.columns
    column = (position + prior.config.num_joint_lyrics) % columns
    count = guesses.count.minimum(columns - column)  # the kernels take positions of one row of columns
    ahead = torch.arange(most, device=position.device)
    sampled = ahead.minimum(count - 1)  # the last one, again, in place of those that are not sampled
    positions = position + sampled
    noise, given = (rows.index_select(0, positions)[:, 0] for rows in (buffers.noise, buffers.given))
    logits = prior.step(state, torch.cat([buffers.previous, guesses.codes]), positions, count)
    codes = sample_from_logits(logits, noise, settings, buffers.temperature)
    codes = torch.where(given < 0, codes, given).index_select(0, sampled)
    is_right = (codes[:-1] == guesses.codes) & (ahead[1:] < count)
    num_right = is_right.long().cumprod(0).sum(0, keepdim=True)  # guesses before the first wrong one
    buffers.codes.index_copy_(0, positions, codes[:, None])  # those beyond the right ones are sampled again
    buffers.previous.copy_(codes.index_select(0, num_right))
    guesses.codes.copy_(codes.index_select(0, (ahead[1:] + num_right).clamp_max(most - 1)))
    position.add_(num_right + 1)
