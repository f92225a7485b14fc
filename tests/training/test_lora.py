import pytest
import torch
from helpers.tiny_training import Examples, loop_arguments, prior_trainer, tiny_prior

from hf_jukebox import JukeboxPrior
from hf_jukebox.adapters import load_adapter
from hf_jukebox.training.data import TrainingData
from hf_jukebox.training.lora import add_adapter, merged_weights


@pytest.fixture
def base(tmp_path):
    """Folder of a prior."""
    tiny_prior("tiny_labelled_prior", init_scale=4.0).save_pretrained(tmp_path / "base")
    return JukeboxPrior.from_pretrained(tmp_path / "base")


def inputs(prior: JukeboxPrior) -> dict[str, torch.Tensor]:
    config = prior.config
    codes = torch.randint(config.codebook_size, (2, config.n_ctx), generator=torch.Generator().manual_seed(0))
    row = [20 * config.sampling_rate, 0, config.window_length, 1, 2]
    return {"codes": codes, "labels": torch.tensor([row, row])}


def test_a_new_adapter_does_not_change_the_prior(base):
    before = base.eval()(**inputs(base)).logits
    add_adapter(base, 4)
    assert torch.equal(base(**inputs(base)).logits, before)


def test_only_adapters_and_labels_are_trained(base):
    add_adapter(base, 4)
    trained = {name for name, parameter in base.named_parameters() if parameter.requires_grad}
    assert trained and all(".lora_" in name or name.startswith("label_embedding.") for name in trained)


def test_merged_and_loaded_adapters_equal_the_trained_prior(tmp_path, base):
    add_adapter(base, 4)
    trainer = prior_trainer(loop_arguments(tmp_path / "run", max_train_steps=4, learning_rate=0.01), base)
    trainer.train()
    with trainer.ema.applied():
        trained = base.eval()(**inputs(base)).logits
    merged = JukeboxPrior.from_pretrained(tmp_path / "run").eval()
    torch.testing.assert_close(merged(**inputs(merged)).logits, trained, atol=1e-5, rtol=1e-5)

    adapted = JukeboxPrior.from_pretrained(tmp_path / "base").eval()
    untrained = adapted(**inputs(adapted)).logits
    load_adapter(adapted, tmp_path / "run")
    torch.testing.assert_close(adapted(**inputs(adapted)).logits, trained, atol=1e-5, rtol=1e-5)
    assert (trained - untrained).abs().max() > 1e-3


def test_the_average_of_a_short_run_is_as_good_as_the_trained_weights(tmp_path, base):
    add_adapter(base, 4)
    options = {"max_train_steps": 40, "lr_warmup_steps": 0, "learning_rate": 0.01, "ema_decay": None}
    trainer = prior_trainer(loop_arguments(tmp_path / "run", **options), base)
    song = trainer.data.train[0]
    repeated = Examples(lambda generator: song, 2)
    trainer.data = TrainingData(repeated, repeated, "one song")
    start = trainer.validate()["loss"]
    trainer.train()
    averaged = trainer.validate()["loss"]
    trainer.state.ema = None
    trained = trainer.validate()["loss"]
    assert abs(start - trained) > 0.1
    assert averaged == pytest.approx(trained, abs=0.1 * abs(start - trained))


def test_an_adapter_is_resumed_exactly(tmp_path):
    def trainer(folder, **options):
        prior = tiny_prior("tiny_labelled_prior")
        torch.manual_seed(1)
        add_adapter(prior, 2)
        return prior_trainer(loop_arguments(tmp_path / folder, **options), prior)

    whole = trainer("whole", max_train_steps=4)
    whole.train()
    trainer("cut", max_train_steps=2, checkpointing_steps=2).train()
    resumed = trainer("cut", max_train_steps=4, resume_from_checkpoint="latest")
    resumed.train()
    assert resumed.losses == {step: loss for step, loss in whole.losses.items() if step > 2}


def test_merging_adds_the_scaled_product():
    down, up, weight = torch.randn(2, 6), torch.randn(4, 2), torch.randn(4, 6)
    prior = tiny_prior()
    config = add_adapter(prior, 2, alpha=6)
    weights = {
        "fc1.base_layer.weight": weight,
        "fc1.base_layer.bias": torch.ones(4),
        "fc1.lora_A.default.weight": down,
        "fc1.lora_B.default.weight": up,
        "norm.weight": torch.ones(3),
    }
    merged = merged_weights(weights, config)
    assert merged.keys() == {"fc1.weight", "fc1.bias", "norm.weight"}
    torch.testing.assert_close(merged["fc1.weight"], weight + 3 * up @ down)
