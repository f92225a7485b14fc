"""Dilated residual stacks over time, shared by the VQ-VAE and by the conditioner of an upsampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class ResidualShape:
    """Width, depth and dilations of a residual stack."""

    width: int
    depth: int
    hidden_multiplier: float = 1.0
    dilation_growth_rate: int = 3
    dilation_cycle: int | None = None
    res_scale: bool = False

    def dilations(self) -> list[int]:
        """Return the dilation of each block."""
        cycle = self.dilation_cycle or self.depth
        return [self.dilation_growth_rate ** (block % cycle) for block in range(self.depth)]


class ResidualBlock(nn.Module):
    """`x + scale * conv2(relu(conv1(relu(x))))` over `[B, width, T]`."""

    def __init__(self, width: int, hidden: int, dilation: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.conv1 = nn.Conv1d(width, hidden, kernel_size=3, dilation=dilation, padding=dilation)
        self.conv2 = nn.Conv1d(hidden, width, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + (residual if self.scale == 1.0 else self.scale * residual)


class ResidualStack(nn.Sequential):
    """Residual blocks of growing dilation; `reverse` puts the largest first, as in the VQ-VAE's decoders."""

    def __init__(self, shape: ResidualShape, reverse: bool = False) -> None:
        dilations = shape.dilations()
        hidden = int(shape.hidden_multiplier * shape.width)
        scale = shape.depth**-0.5 if shape.res_scale else 1.0
        super().__init__(
            *(
                ResidualBlock(shape.width, hidden, dilation, scale)
                for dilation in (reversed(dilations) if reverse else dilations)
            )
        )
