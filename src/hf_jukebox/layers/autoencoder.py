"""Encoder and decoder of one level of the VQ-VAE: strided convolutions with residual stacks between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .resnet import ResidualShape, ResidualStack


class DownsamplingStage(nn.Module):
    """Strided convolutions, `[B, channels, T] -> [B, out_channels, T / stride**downs]`."""

    def __init__(self, channels: int, out_channels: int, downs: int, stride: int, shape: ResidualShape) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels if i == 0 else shape.width, shape.width, 2 * stride, stride, stride // 2)
            for i in range(downs)
        )
        self.stacks = nn.ModuleList(ResidualStack(shape) for _ in range(downs))
        self.proj_out = nn.Conv1d(shape.width, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, stack in zip(self.convs, self.stacks, strict=True):
            x = stack(conv(x))
        return self.proj_out(x)


class UpsamplingStage(nn.Module):
    """Transposed convolutions, `[B, channels, T] -> [B, out_channels, T * prod(strides)]`."""

    def __init__(
        self, channels: int, out_channels: int, strides: Sequence[int], shape: ResidualShape, reverse: bool
    ) -> None:
        super().__init__()
        self.proj_in = nn.Conv1d(channels, shape.width, kernel_size=3, padding=1)
        self.stacks = nn.ModuleList(ResidualStack(shape, reverse) for _ in strides)
        outs = [shape.width] * (len(strides) - 1) + [out_channels]
        self.convs = nn.ModuleList(
            nn.ConvTranspose1d(shape.width, out, 2 * stride, stride, stride // 2)
            for out, stride in zip(outs, strides, strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj_in(x)
        for stack, conv in zip(self.stacks, self.convs, strict=True):
            x = conv(stack(x))
        return x


class Encoder(nn.Module):
    """Audio `[B, 1, T]` to vectors of level L `[B, dim, T / hop[L]]`; `downs` and `strides` end at level L."""

    def __init__(self, dim: int, downs: Sequence[int], strides: Sequence[int], shape: ResidualShape) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            DownsamplingStage(1 if i == 0 else dim, dim, down, stride, shape)
            for i, (down, stride) in enumerate(zip(downs, strides, strict=True))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Decoder(nn.Module):
    """Vectors of level L `[B, dim, T / hop[L]]` to audio `[B, 1, T]`; `downs` and `strides` end at level L."""

    def __init__(self, dim: int, downs: Sequence[int], strides: Sequence[int], shape: ResidualShape) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            UpsamplingStage(dim, dim, [stride] * down, shape, reverse=True)
            for down, stride in zip(downs, strides, strict=True)
        )
        self.out = nn.Conv1d(dim, 1, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for stage in reversed(self.stages):
            x = stage(x)
        return self.out(x)
