"""Objective of a training run, as the loop sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

Batch = dict[str, Any]


class Task(Protocol):
    """Objective of a training run: everything that is specific to the model."""

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the audio samples."""

    def prepare_inputs(self, batch: Batch, training: bool) -> Batch:
        """Turn a batch of the data into the model's inputs, on its device."""

    def metrics(self, output: Any) -> dict[str, torch.Tensor]:
        """Return the scalars to log besides `loss`."""

    def sample_audio(self, model: PreTrainedModel, batch: Batch) -> dict[str, np.ndarray]:
        """Return audio `[T]` by name, to monitor training by ear; `batch` is held out."""

    def describe_samples(self, batch: Batch) -> dict[str, str]:
        """Return what each audio sample is made from, by its name; those without a description may be left out."""

    def finalize(self, model: PreTrainedModel, batches: Iterable[Batch]) -> None:
        """Record in the config what can only be measured after training, on held-out batches."""
