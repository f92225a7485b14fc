"""Training of a prior on corrupted windows, so that it recovers from its own mistakes."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from hf_jukebox import JukeboxPrior
from hf_jukebox.modeling_prior import JukeboxPriorOutput

_LARGEST_SHARE = 0.6
_NEAR = 6  # codes


class RobustPrior(JukeboxPrior):
    """Prior trained to predict the right codes from windows in which some are wrong.

    Trained on right codes only, a small prior keeps time by the last few of them, and loses the beat as soon as it has
    sampled some that are slightly off. With wrong codes among them it learns to use the position and earlier context.
    """

    def forward(
        self,
        codes: torch.Tensor,
        upper_codes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> JukeboxPriorOutput:
        if not self.training:
            return super().forward(codes, upper_codes, labels, **options)
        output = super().forward(corrupt(codes), upper_codes, labels, **options)
        output.loss = F.cross_entropy(output.logits.flatten(0, 1).float(), codes.flatten()) / math.log(2)
        return output


def corrupt(codes: torch.Tensor) -> torch.Tensor:
    """Replace up to 60 % of the codes of windows `[B, T]` by others of the same window, from nearby or anywhere.

    In three of five windows all codes up to a random position stay right, as after a prompt.
    """
    batch, length = codes.shape
    position = torch.arange(length)[None]
    share = _LARGEST_SHARE * torch.rand(batch, 1)
    right_until = torch.where(torch.rand(batch, 1) < 0.6, 0.7 * length * torch.rand(batch, 1), 0.0)
    wrong = (torch.rand(batch, length) < share) & (position >= right_until)
    near = (position + torch.randint(-_NEAR, _NEAR + 1, (batch, length))).clamp(0, length - 1)
    anywhere = torch.randint(length, (batch, length))
    source = torch.where(torch.rand(batch, length) < 0.5, near, anywhere)
    return torch.where(wrong, codes.gather(1, source), codes)
