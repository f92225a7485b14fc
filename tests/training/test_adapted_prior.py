"""Adapters apply to whole passes, to steps, and with recomputed activations."""

import pytest
import torch
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.lora import add_adapter


@pytest.fixture
def trained(tmp_path):
    """Prior after a few steps of its adapter, and its weights before."""
    prior = tiny_prior("tiny_lyrics_prior", init_scale=4.0)
    before = {name: weight.clone() for name, weight in prior.state_dict().items()}
    add_adapter(prior, 2)
    options = {"max_train_steps": 3, "learning_rate": 0.01, "lr_warmup_steps": 0, "use_ema": False}
    prior_trainer(loop_arguments(tmp_path / "run", gradient_checkpointing=True, **options), prior).train()
    return prior.eval(), before


def test_training_an_adapter_keeps_the_weights_of_the_prior(trained):
    prior, before = trained
    for name, weight in prior.state_dict().items():
        plain = name.replace(".base_layer.", ".").replace(".original_module.", ".")
        if plain in before:
            assert torch.equal(weight, before[plain]), name
    moved = [weight for name, weight in prior.named_parameters() if ".lora_B." in name]
    assert moved and all(weight.any() for weight in moved)


def test_steps_equal_whole_passes_with_an_adapter(trained, tmp_path):
    prior, before = trained
    config, generator = prior.config, torch.Generator().manual_seed(0)
    codes = torch.randint(config.codebook_size, (1, config.n_ctx), generator=generator)
    timing = torch.tensor([[20 * config.sampling_rate, 0, config.window_length, 1, 1]])
    labels = torch.cat([timing, torch.randint(1, config.lyrics_vocab_size, (1, config.n_lyrics))], dim=1)
    whole = prior(codes, labels=labels).logits

    state, known = prior.init_state(1), 20
    prior.prefill(state, codes[:, :known], labels=labels)
    for position in range(known, known + 12):
        logits = prior.step(state, codes[:, position - 1], torch.tensor([position]))
        torch.testing.assert_close(logits, whole[:, position], atol=1e-4, rtol=1e-4)

    plain = JukeboxPrior(config)
    plain.load_state_dict(before)
    assert (plain.eval()(codes, labels=labels).logits - whole).abs().max() > 1e-3
    merged = JukeboxPrior.from_pretrained(tmp_path / "run").eval()
    torch.testing.assert_close(merged(codes, labels=labels).logits, whole, atol=1e-4, rtol=1e-4)
