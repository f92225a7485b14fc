"""A moving average of the weights: what is validated, sampled from and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.tensor import DTensor


def published_decay(global_batch_size: int) -> float:
    """Decay a step, `1 - (batch / 8) / 1000`: half of the average is younger than about 5,500 examples."""
    return max(0.0, 1 - global_batch_size / 8 / 1000)


class EMA:
    """An exponential moving average of the trained parameters; buffers, such as codebooks, are none of its business.

    It begins as a copy of the weights. Sharded parameters are averaged shard by shard.

    Args:
        model: Whose parameters are averaged: those that require a gradient.
        decay: Of the average, a step.
        offload: Keep it in the CPU's memory.
    """

    def __init__(self, model: nn.Module, decay: float, offload: bool = False) -> None:
        self.decay = decay
        self._parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self._averages = {
            name: _local(each).detach().to("cpu" if offload else _local(each).device, torch.float32, copy=True)
            for name, each in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        for name, parameter in self._parameters.items():
            ema = self._averages[name]
            ema.lerp_(_local(parameter).to(ema), 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model has the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages by parameter, sharded as the parameters are."""
        return {name: self._as_parameter(name, ema) for name, ema in self._averages.items()}

    @torch.no_grad()
    def load_state_dict(self, averages: dict[str, torch.Tensor]) -> None:
        """Take over averages of the same parameters."""
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
    """The part of a parameter that this process holds."""
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
