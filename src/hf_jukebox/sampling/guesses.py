"""Guesses of the next codes of one song, so that a step can sample several.

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


@dataclass
class Guesses:
    """Codes of one song that a step takes for granted until it has sampled them; written in place."""

    codes: torch.Tensor  # [most - 1], those after the next one
    count: torch.Tensor  # [1] codes to sample, 1 to `most`: the next one and some that are guessed

    @classmethod
    def allocate(cls, most: int, device: torch.device) -> Self:
        """Allocate guesses for steps of up to `most` codes."""
        codes = torch.zeros(most - 1, dtype=torch.long, device=device)
        return cls(codes, torch.ones(1, dtype=torch.long, device=device))

    def begin(self, previous: torch.Tensor) -> None:
        """Guess that the code before, `previous` `[1]`, is repeated."""
        self.codes.copy_(previous.expand_as(self.codes))

    def check(self, sampled: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        """Return how many guesses were right before the first wrong one, `[1]`, and guess those after it anew.

        Args:
            sampled: `[most]`, the next code and those that follow the guesses, of which the first `count` `[1]` were
                sampled; the others repeat the last one.
        """
        ahead = torch.arange(1, len(sampled), device=sampled.device)
        is_right = (sampled[:-1] == self.codes) & (ahead < count)
        num_right = is_right.long().cumprod(0).sum(0, keepdim=True)
        self.codes.copy_(sampled.index_select(0, (ahead + num_right).clamp_max(len(sampled) - 1)))
        return num_right
