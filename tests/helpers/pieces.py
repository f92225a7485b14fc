"""Pieces of several windows, sampled by a `BatchSampler` from random inputs."""

import torch

from helpers.random_priors import random_inputs
from hf_jukebox import JukeboxPrior
from hf_jukebox.sampling.batch import BatchSampler, BatchTask
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.step_runner import StepRunner

NUM_CODES = 30


def task(prior: JukeboxPrior, batch: int, seed: int, settings: SamplingSettings) -> BatchTask:
    """Return a piece of several windows whose rows have prompts of different lengths."""
    inputs, config = random_inputs(prior.config, batch, seed), prior.config
    generator = torch.Generator().manual_seed(seed)
    upper, labels = None, inputs.labels
    if config.is_upsampler:
        length = -(-NUM_CODES // config.upsampling_ratio)
        upper = torch.randint(config.codebook_size, (batch, length), generator=generator)
    return BatchTask(
        codes=torch.randint(config.codebook_size, (batch, NUM_CODES), generator=generator),
        num_given=[seed + 2 * row for row in range(batch)],
        hop=config.n_ctx // 2,
        noise=torch.rand(batch, NUM_CODES, generator=generator),
        settings=settings,
        upper_codes=upper,
        labels_at=None if labels is None else lambda start: labels,
    )


def sampled(prior: JukeboxPrior, steps: StepRunner, batch: int) -> list[torch.Tensor]:
    """Sample three pieces in turn, with different inputs and temperatures."""
    codes = []
    for seed, temperature in enumerate((0.7, 1.0, 1.3)):
        piece = task(prior, batch, seed, SamplingSettings(temperature))
        assert [*BatchSampler(prior, piece, steps=steps)][-1] == NUM_CODES
        codes.append(piece.codes)
    return codes
