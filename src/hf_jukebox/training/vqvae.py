"""Training a VQ-VAE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..modeling_vqvae import JukeboxVQVAE, JukeboxVQVAEOutput


class VQVAETask:
    """Reconstruct chunks of audio `[B, T]`; see [`JukeboxVQVAE.forward`] for the loss.

    The codebooks follow the encoders in every forward pass, so with accumulated gradients several times a step.
    """

    def __init__(self, model: JukeboxVQVAE, device: torch.device) -> None:
        self.config = model.config
        self.device = device

    @property
    def sampling_rate(self) -> int:
        return self.config.sampling_rate

    def inputs(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        return {"audio": batch["audio"].to(self.device, non_blocking=True)}

    def metrics(self, output: JukeboxVQVAEOutput) -> dict[str, torch.Tensor]:
        """The terms of the loss, and what the model measures: usage and entropy of the codebooks, and errors."""
        terms = ("reconstruction_loss", "spectral_loss", "multispectral_loss", "commit_loss")
        return {name: getattr(output, name).detach() for name in terms} | (output.metrics or {})

    def samples(self, model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Chunks as they were, and as each level gives them back."""
        output = model(**self.inputs(batch, training=False))
        audio = {f"{i}-original": samples for i, samples in enumerate(batch["audio"].numpy())}
        for level, decoded in enumerate(output.audio):
            clipped = decoded.float().clamp(-1, 1).cpu().numpy()
            audio |= {f"{i}-level-{level}": samples for i, samples in enumerate(clipped)}
        return audio

    def finalize(self, model: PreTrainedModel, batches: Iterable[dict[str, Any]]) -> None:
        """There is nothing to find out about a VQ-VAE."""
