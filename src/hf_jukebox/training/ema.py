"""Exponential moving average (EMA) of the weights, used for validation, sampling and the finished model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor


def published_decay(global_batch_size: int) -> float:
    """Return the decay per step, `1 - (batch / 8) / 1000`: a half-life of about 5,500 examples."""
    return max(0.0, 1 - global_batch_size / 8 / 1000)


def warmed_up(decay: float, updates: int) -> float:
    """Return the decay after `updates` earlier updates, `min(decay, (1 + updates) / (10 + updates))`.

    Without this warm-up the initial weights would dominate the average of a run shorter than its half-life. With it the
    average covers about the last tenth of the steps, until that is as long as the decay allows.
    """
    return min(decay, (1 + updates) / (10 + updates))


class EMA:
    """Exponential moving average of the trained parameters; buffers such as codebooks are not averaged.

    It starts as a copy of the weights, which it soon forgets, as the decay is warmed up. Unlike diffusers' `EMAModel`
    it averages sharded parameters (DTensor) shard by shard, and needs no third copy of the weights when it is applied.

    Args:
        model: Model whose parameters that require a gradient are averaged.
        decay: Decay per step, after its warm-up.
        offload: Keep the average in CPU memory.
    """

    def __init__(self, model: nn.Module, decay: float, offload: bool = False) -> None:
        self.decay = decay
        self._parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._averages = {
            name: _local(each).detach().to("cpu" if offload else _local(each).device, torch.float32, copy=True)
            for name, each in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Update the average with the current weights, after a step.

        Args:
            updates: Number of earlier updates of the run.
        """
        share = 1 - warmed_up(self.decay, updates)
        for name, parameter in self._parameters.items():
            ema = self._averages[name]
            ema.lerp_(_local(parameter).to(ema), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Exchange the weights for their average; restore them on exit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averages by parameter name, sharded as the parameters are."""
        return {name: self._as_parameter(name, ema) for name, ema in self._averages.items()}

    @torch.no_grad()
    def load_state_dict(self, averages: dict[str, torch.Tensor]) -> None:
        """Load averages of the same parameters."""
        for name, ema in self._averages.items():
            ema.copy_(_local(averages[name]))

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            local, ema = _local(parameter), self._averages[name]
            trained = local.detach().clone()
            local.copy_(ema)
            ema.copy_(trained)

    def _as_parameter(self, name: str, ema: torch.Tensor) -> torch.Tensor:
        parameter = self._parameters[name]
        if not isinstance(parameter, DTensor):
            return ema
        return DTensor.from_local(
            ema,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )


def _local(parameter: torch.Tensor) -> torch.Tensor:
    """Return the shard of a parameter that this process holds."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
