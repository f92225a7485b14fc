"""Training a prior: a top prior or an upsampler."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..configuration_jukebox import JukeboxPriorConfig
from ..labels.vocabulary import UNKNOWN_ID
from ..modeling_prior import JukeboxPrior, JukeboxPriorOutput
from ..modeling_vqvae import JukeboxVQVAE
from ..sampling.batch import BatchSampler, BatchTask
from ..sampling.logits import SamplingSettings, uniform_noise
from ..tokenization_jukebox import NO_GENRE
from .alignment_head import find_alignment
from .data import ChunkEncoder

logger = logging.getLogger(__name__)


class PriorTask:
    """Predict the codes of windows, from the codes of the level above and from labels where the prior has them.

    Args:
        config: Of the prior.
        vqvae: Made the codes, on the device of training. It encodes where the data are audio, and decodes samples.
        label_dropout: Probability with which a window loses its artist, and likewise its genre, so that the model also
            learns to do without.
        sample_seconds: Length of audio samples; a window at most.
        seed: Of the samples: the same noise every time, so that they can be compared.
    """

    def __init__(
        self,
        config: JukeboxPriorConfig,
        vqvae: JukeboxVQVAE,
        label_dropout: float = 0.0,
        sample_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.vqvae = vqvae.eval().requires_grad_(False)
        self.label_dropout = label_dropout
        self.seed = seed
        self._encode = ChunkEncoder(vqvae, config)
        codes = (
            config.n_ctx if sample_seconds is None else int(sample_seconds * config.sampling_rate) // config.hop_length
        )
        self._sample_codes = min(max(codes, 1), config.n_ctx)

    @property
    def sampling_rate(self) -> int:
        return self.config.sampling_rate

    def inputs(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        if "audio" in batch:
            inputs = self._encode(batch)
        else:
            inputs = {name: each.to(self.vqvae.device, non_blocking=True) for name, each in batch.items()}
        if training and self.label_dropout and "labels" in inputs:
            inputs["labels"] = drop_labels(inputs["labels"], self.label_dropout, self.config.genre_words)
        return inputs

    def metrics(self, output: JukeboxPriorOutput) -> dict[str, torch.Tensor]:
        """Bits per code, and bits per character where there are lyrics."""
        assert output.code_loss is not None
        metrics = {"bits_per_code": output.code_loss.detach()}
        if output.lyrics_loss is not None:
            metrics["bits_per_character"] = output.lyrics_loss.detach()
        return metrics

    def samples(self, model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Windows drawn with the labels and the upper codes of held-out ones, beside what these sound like."""
        assert isinstance(model, JukeboxPrior)
        inputs, length, level = self.inputs(batch, training=False), self._sample_codes, self.config.level
        held_out = inputs["codes"][:, :length]
        songs, labels = held_out.shape[0], inputs.get("labels")
        task = BatchTask(
            codes=torch.zeros_like(held_out),
            known=[0] * songs,
            hop=self.config.n_ctx,
            noise=uniform_noise([(self.seed, song) for song in range(songs)], level, length).to(held_out.device),
            settings=SamplingSettings(),
            upper_codes=inputs.get("upper_codes"),
            labels_at=None if labels is None else lambda start: labels,
        )
        for _ in BatchSampler(model, task):
            pass
        audio: dict[str, np.ndarray] = {}
        for name, codes in (("held-out", held_out), ("drawn", task.codes)):
            decoded = self.vqvae.decode(codes, level).float().clamp(-1, 1).cpu().numpy()
            audio |= {f"{song}-{name}": samples for song, samples in enumerate(decoded)}
        return audio

    def finalize(self, model: PreTrainedModel, batches: Iterable[dict[str, Any]]) -> None:
        """Note which layer and head follow the lyrics, where there are lyrics."""
        assert isinstance(model, JukeboxPrior)
        if self.config.lyrics_scheme is None:
            return
        try:
            layer, head, score = find_alignment(model, (self.inputs(batch, training=False) for batch in batches))
        except ValueError as error:
            logger.warning("%s", error)
            return
        self.config.alignment_layer, self.config.alignment_head = layer, head
        logger.info("Layer %d, head %d follows the lyrics best (%.2f of 1).", layer, head, score)


def drop_labels(labels: torch.Tensor, probability: float, genre_words: int) -> torch.Tensor:
    """Rows `[B, label_length]` in which some artists and, apart from them, some genres have become unknown."""
    labels = labels.clone()
    artist, genre = (torch.rand(2, labels.shape[0]) < probability).to(
        labels.device
    )  # drawn on the CPU: see checkpoints
    labels[artist, 3] = UNKNOWN_ID
    unknown = labels.new_tensor([UNKNOWN_ID] + [NO_GENRE] * (genre_words - 1))
    labels[genre, 4 : 4 + genre_words] = unknown
    return labels
