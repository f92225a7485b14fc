"""Initial weights that both models share."""

from __future__ import annotations

import math

from torch import nn
from transformers import initialization as init


def pytorch_default_(module: nn.Linear | nn.Conv1d | nn.ConvTranspose1d) -> None:
    """Initialise a layer as PyTorch does, by functions that skip loaded weights."""
    init.kaiming_uniform_(module.weight, a=math.sqrt(5))
    if module.bias is not None:
        bound = 1 / math.sqrt(nn.init._calculate_fan_in_and_fan_out(module.weight)[0])
        init.uniform_(module.bias, -bound, bound)
