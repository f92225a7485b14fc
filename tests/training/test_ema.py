import pytest
import torch
from torch import nn

from hf_jukebox.training.ema import EMA, published_decay


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.register_buffer("count", torch.zeros(2))
    return model


def test_the_average_follows_the_formula(model):
    ema, expected = EMA(model, 0.9), model.weight.detach().clone()
    for step, decay in enumerate([1 / 10, 2 / 11, 3 / 12]):  # of the warm-up
        with torch.no_grad():
            model.weight.fill_(step)
        ema.update(step)
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(ema.state_dict()["weight"], expected)
    ema.update(1000)
    torch.testing.assert_close(ema.state_dict()["weight"], 0.9 * expected + 0.1 * 2)


def test_weights_are_restored_exactly_after_the_average_was_applied(model):
    ema, before = EMA(model, 0.5), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    trained = model.weight.detach().clone()
    with ema.applied():
        assert torch.equal(model.weight, before)
    assert torch.equal(model.weight, trained)
    assert torch.equal(ema.state_dict()["weight"], before)


def test_neither_buffers_nor_frozen_parameters_are_averaged(model):
    model.bias.requires_grad_(False)
    assert list(EMA(model, 0.5).state_dict()) == ["weight"]


def test_the_decay_is_the_published_one():
    assert published_decay(32) == 0.996
    assert published_decay(80_000) == 0
