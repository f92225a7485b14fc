"""Audio samples of the training task of a prior."""

import pytest
import torch
from helpers.tiny_training import tiny_prior, tiny_vqvae

from hf_jukebox.sampling.logits import SamplingSettings, sample_from_logits, uniform_noise
from hf_jukebox.training.train_prior import PriorTask


@pytest.mark.parametrize("preset", ["tiny_labelled_prior", "tiny_upsampler"])
def test_audio_samples_are_decoded_from_codes_that_are_sampled_step_by_step(preset: str) -> None:
    prior, vqvae = tiny_prior(preset).eval(), tiny_vqvae()
    config = prior.config
    length = 20
    task = PriorTask(config, vqvae, sample_seconds=length * config.hop_length / config.sampling_rate, seed=5)
    generator = torch.Generator().manual_seed(0)
    batch = {"codes": torch.randint(config.codebook_size, (2, config.n_ctx), generator=generator)}
    if config.is_upsampler:
        upper_length = config.n_ctx // config.upsampling_ratio
        batch["upper_codes"] = torch.randint(config.codebook_size, (2, upper_length), generator=generator)
    if config.has_labels:
        batch["labels"] = torch.tensor([[20 * config.sampling_rate, 0, config.window_length, 1, 1]] * 2)
    audio = task.sample_audio(prior, batch)

    state = prior.init_state(2)
    upper_codes = batch["upper_codes"][:, :10] if config.is_upsampler else None
    prior.prefill(state, batch["codes"][:, :0], upper_codes, batch.get("labels"))
    noise = uniform_noise([(5, 0), (5, 1)], config.level, length)
    codes, previous = [], torch.zeros(2, dtype=torch.long)
    for position in range(length):
        logits = prior.step(state, previous, torch.tensor([position]))
        previous = sample_from_logits(logits, noise[:, position], SamplingSettings())
        codes.append(previous)
    sampled = vqvae.decode(torch.stack(codes, dim=1), config.level).clamp(-1, 1)
    held_out = vqvae.decode(batch["codes"][:, :length], config.level).clamp(-1, 1)
    for song in range(2):
        assert torch.equal(torch.from_numpy(audio[f"{song}-sampled"]), sampled[song])
        assert torch.equal(torch.from_numpy(audio[f"{song}-held-out"]), held_out[song])
