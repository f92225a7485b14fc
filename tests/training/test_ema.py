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
    average, expected = EMA(model, 0.9), model.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            model.weight.fill_(step)
        average.update()
        expected = 0.9 * expected + 0.1 * step
    torch.testing.assert_close(average.state_dict()["weight"], expected)


def test_applied_weights_are_put_back_exactly(model):
    average, before = EMA(model, 0.5), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    trained = model.weight.detach().clone()
    with average.applied():
        assert torch.equal(model.weight, before)
    assert torch.equal(model.weight, trained)
    assert torch.equal(average.state_dict()["weight"], before)


def test_neither_buffers_nor_frozen_parameters_are_averaged(model):
    model.bias.requires_grad_(False)
    assert list(EMA(model, 0.5).state_dict()) == ["weight"]


def test_the_published_decay():
    assert published_decay(32) == 0.996
    assert published_decay(80_000) == 0
