import importlib
from pathlib import Path

import pytest

from hf_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.lora import add_adapter
from hf_jukebox.training.memory_estimate import MemoryEstimate, estimate_memory

CONFIG = JukeboxPriorConfig.from_preset("tiny_prior", hidden_size=64, num_hidden_layers=3, n_ctx=256)
LYRICS = JukeboxPriorConfig.from_preset("tiny_lyrics_prior")


def estimate(config: JukeboxPriorConfig = CONFIG, **options: object) -> MemoryEstimate:
    ours = ("chunk_length", "num_processes", "sharded", "device_type", "prepare")
    details = {name: options.pop(name) for name in ours if name in options}
    return estimate_memory(config, LoopArguments(**options), **details)


def test_weights_gradients_and_optimizer_are_counted_exactly():
    plain = estimate()
    assert plain.num_parameters == plain.num_trained
    assert plain.weights == plain.gradients == plain.ema == plain.optimizer // 2 == 4 * plain.num_parameters
    assert plain.exchange == 0
    assert plain.total == sum(plain.parts().values())
    assert estimate(offload_ema=True).ema == estimate(use_ema=False).ema == 0


def test_activations_grow_with_the_batch_and_shrink_with_recomputing_and_half_precision():
    plain = estimate()
    assert estimate(train_batch_size=8).activations == pytest.approx(2 * plain.activations, rel=0.1)
    assert estimate(gradient_checkpointing=True).activations < 0.6 * plain.activations
    assert estimate(mixed_precision="bf16").activations < 0.9 * plain.activations
    assert estimate(gradient_accumulation_steps=2).total >= plain.total


def test_the_estimate_is_that_of_the_device():
    on_gpu = estimate(mixed_precision="bf16")
    assert on_gpu == estimate(mixed_precision="fp16")
    assert estimate(mixed_precision="bf16", device_type="cpu").activations > on_gpu.activations  # attention in float32


def test_processes_hold_copies_or_shards_of_the_model():
    alone, parallel = estimate(), estimate(num_processes=4)
    assert parallel.total - alone.total == parallel.exchange == alone.gradients
    shared = estimate(num_processes=4, sharded=True)
    for name in ("weights", "gradients", "optimizer", "ema"):
        assert getattr(shared, name) == getattr(alone, name) / 4
    assert shared.exchange > 0


def test_adapters_need_gradients_for_themselves_only():
    adapted = estimate(prepare=lambda prior: add_adapter(prior, 2))
    assert adapted.num_trained < 0.2 * adapted.num_parameters
    assert adapted.gradients == 4 * adapted.num_trained
    assert adapted.total < estimate().total


def test_every_kind_of_model_has_an_estimate():
    tiny_upsampler = JukeboxPriorConfig.from_preset("tiny_upsampler")
    for config in (LYRICS, tiny_upsampler):
        assert estimate(config, mixed_precision="fp16").activations > 0
    vqvae = JukeboxVQVAEConfig.from_preset("tiny_vqvae")
    assert estimate(vqvae, chunk_length=4096).activations > 0
    with pytest.raises(ValueError, match="chunk_length"):
        estimate(vqvae)


def test_the_largest_prior_is_estimated_without_its_memory():
    config = JukeboxPriorConfig.from_preset("prior_5b", num_hidden_layers=3)
    assert estimate(config, train_batch_size=1, mixed_precision="bf16").total > 5e9


def test_an_estimate_is_printed_as_a_sentence_and_a_table():
    some = MemoryEstimate(10, 10, 4 * 10**9, 4 * 10**9, 8 * 10**9, 0, 5 * 10**7, 0)
    assert str(some) == (
        "about 16.1 GB of memory per process: weights 4.0 GB, gradients 4.0 GB, optimizer 8.0 GB, activations 50.0 MB"
    )
    assert some.table().splitlines()[-1] == "| **total** | 16.1 GB |"


@pytest.mark.parametrize("case", [0, pytest.param(3, marks=pytest.mark.slow)], ids=["prior", "VQ-VAE"])
def test_the_estimate_is_close_to_measured_memory(case, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    benchmark = importlib.import_module("training_memory")
    assert abs(benchmark.measure(case)["off"]) < 0.15
