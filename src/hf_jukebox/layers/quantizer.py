"""Vector quantiser whose codebook is an exponential moving average of encoder outputs (paper section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

_ROWS_PER_CHUNK = 8192  # the distances of all rows from the codebook would take most of the memory of encoding


@dataclass
class QuantizerOutput:
    """`codes` `[B, T]`, `quantized` `[B, T, dim]` with a straight-through gradient, `commit_loss` and metrics `()`."""

    codes: torch.Tensor
    quantized: torch.Tensor
    commit_loss: torch.Tensor
    metrics: dict[str, torch.Tensor]


def are_codes(codes: torch.Tensor, codebook_size: int) -> bool:
    """Return whether all of `codes`, of any shape, are rows of a codebook of this size."""
    return codes.numel() == 0 or 0 <= int(codes.min()) <= int(codes.max()) < codebook_size


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class VectorQuantizer(nn.Module):
    """Quantiser to the nearest codebook row by squared Euclidean distance.

    The codebook and its running sums are buffers: neither the optimizer nor the EMA of the weights may touch them, and
    a checkpoint holds them, so that training resumes where it stopped. Published checkpoints lack the running sums;
    the first training batch then restores them.
    """

    codebook: torch.Tensor  # [codebook_size, dim]
    running_count: torch.Tensor  # [codebook_size]
    running_sum: torch.Tensor  # [codebook_size, dim]
    initialized: torch.Tensor  # () bool

    def __init__(self, codebook_size: int, dim: int, decay: float, restart_threshold: float) -> None:
        super().__init__()
        self.decay = decay
        self.restart_threshold = restart_threshold
        self._is_prepared = False
        self.register_buffer("codebook", torch.zeros(codebook_size, dim))
        self.register_buffer("running_count", torch.zeros(codebook_size))
        self.register_buffer("running_sum", torch.zeros(codebook_size, dim))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.bool))

    def forward(self, hidden: torch.Tensor) -> QuantizerOutput:
        """Quantise `hidden` `[B, T, dim]`; in training mode, update the codebook afterwards."""
        rows = hidden.detach().float().reshape(-1, hidden.shape[-1])  # [B * T, dim]
        if self.training:
            self._prepare(rows, hidden.shape[1])
        codes, distance = self._nearest(rows)
        quantized = F.embedding(codes, self.codebook).view_as(hidden)
        commit_loss = F.mse_loss(hidden, quantized.to(hidden.dtype))
        metrics = {
            "fit": distance.mean(),
            "prenorm": (rows - rows.mean()).norm() / rows.numel() ** 0.5,
        }
        if self.training:
            metrics |= self._update(rows, codes)
        straight_through = hidden + (quantized - hidden).detach()
        return QuantizerOutput(codes.view(hidden.shape[:-1]), straight_through, commit_loss, metrics)

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the codes `[B, T]` of `hidden` `[B, T, dim]`."""
        return self._nearest(hidden.float().reshape(-1, hidden.shape[-1]))[0].view(hidden.shape[:-1])

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the codebook rows `[B, T, dim]` of `codes` `[B, T]`."""
        return F.embedding(codes, self.codebook)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._is_prepared = False

    @torch.no_grad()
    def restore_running_sums(self, num_tokens: float) -> None:
        """Estimate the sums that a checkpoint lacks: `num_tokens` assignments, spread evenly over the rows."""
        self.running_count.fill_(num_tokens / self.codebook.shape[0])
        self.running_sum.copy_(self.codebook * self.running_count[:, None])

    def _nearest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes of `rows` `[N, dim]` and their squared distances from the codebook, `[N]` each."""
        book = self.codebook.float().t()  # [dim, codebook_size]
        lengths = book.square().sum(0, keepdim=True)
        minima = []
        for part in rows.split(_ROWS_PER_CHUNK):
            distance = (part @ book).mul_(-2).add_(part.square().sum(-1, keepdim=True)).add_(lengths)
            minima.append(distance.min(dim=-1))
        return torch.cat([codes for _, codes in minima]), torch.cat([nearest for nearest, _ in minima])

    @torch.no_grad()
    def _prepare(self, rows: torch.Tensor, codes_per_item: int) -> None:
        """At the first training batch, initialise the codebook from it, or restore the sums of a loaded one."""
        if self._is_prepared:  # known without reading a buffer, which would wait for the device
            return
        self._is_prepared = True
        if not self.initialized:
            self.codebook.copy_(self._random_rows(rows))
            self.restore_running_sums(self.codebook.shape[0])
            self.initialized.fill_(True)
        elif not self.running_count.any():
            self.restore_running_sums(codes_per_item * _world_size())

    @torch.no_grad()
    def _update(self, rows: torch.Tensor, codes: torch.Tensor) -> dict[str, torch.Tensor]:
        size = self.codebook.shape[0]
        count = rows.new_zeros(size).index_add_(0, codes, rows.new_ones(len(codes)))  # bincount waits for the device
        total = torch.zeros_like(self.codebook).index_add_(0, codes, rows)
        fresh = self._random_rows(rows)
        if _world_size() > 1:
            dist.all_reduce(count)
            dist.all_reduce(total)

        old = self.codebook.clone()
        self.running_count.lerp_(count, 1 - self.decay)
        self.running_sum.lerp_(total, 1 - self.decay)
        # A restart replaces the row only. Its counts are not reset, so it restarts in every batch until it is used
        # often enough.
        alive = (self.running_count >= self.restart_threshold)[:, None]
        means = self.running_sum / self.running_count[:, None].clamp_min(torch.finfo(rows.dtype).tiny)
        self.codebook.copy_(torch.where(alive, means, fresh))

        share = count / count.sum()
        return {
            "entropy": -(share * (share + 1e-8).log()).sum(),
            "used": (count >= self.restart_threshold).sum().float(),
            "usage": (self.running_count >= self.restart_threshold).sum().float(),
            "codebook_change": (self.codebook - old).norm() / old.numel() ** 0.5,
        }

    def _random_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Sample `codebook_size` encoder outputs without replacement, the same on every process."""
        size, dim = self.codebook.shape
        if rows.shape[0] < size:
            rows = rows.repeat(-(-size // rows.shape[0]), 1)
            rows = rows + torch.randn_like(rows) * 0.01 / dim**0.5
        sampled = rows[torch.randperm(rows.shape[0], device=rows.device)[:size]]
        if _world_size() > 1:
            dist.broadcast(sampled, 0)
        return sampled
