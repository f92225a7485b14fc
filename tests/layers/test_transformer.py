"""Blocks: the formulas of a block written out, the padding of a part of a window, and recorded outputs."""

import pytest
import torch
from helpers.random_priors import randomize

from hf_jukebox.layers.attention import AttentionShape
from hf_jukebox.layers.transformer import MLP, LayerNorm, RecordedOutputs, Transformer, TransformerShape

SHAPE = AttentionShape(width=10, state=8, heads=2, rows=4, positions=24)


def transformer(res_scale: bool = False) -> Transformer:
    model = Transformer(TransformerShape(SHAPE, depth=3, order=2, mlp_width=20, res_scale=res_scale))
    randomize(model)
    return model.double()


def x(length: int = 24) -> torch.Tensor:
    return torch.randn(2, length, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("res_scale", [False, True])
def test_a_block_adds_attention_and_mlp_to_its_input(res_scale: bool) -> None:
    model = transformer(res_scale)
    expected = x()
    for block in model.blocks:
        attended = block.attn(block.norm1(expected))
        added = attended + block.mlp(block.norm2(expected + attended))
        expected = expected + (added / 3 if res_scale else added)
    torch.testing.assert_close(model(x()), expected)


def test_the_mlp_is_two_linear_layers_around_a_sigmoid_gelu() -> None:
    mlp = MLP(10, 20)
    randomize(mlp)
    hidden = mlp.fc1(x().float())
    torch.testing.assert_close(mlp(x().float()), mlp.fc2(hidden / (1 + torch.exp(-1.702 * hidden))))


def test_layer_norm_computes_in_float32_in_half_precision() -> None:
    norm = LayerNorm(10)
    randomize(norm)
    far = x().to(torch.bfloat16) + 100  # in bfloat16 the variance would drown in the mean
    exact = torch.nn.functional.layer_norm(far.float(), (10,), norm.weight, norm.bias)
    for halved in (norm, LayerNorm(10).to(torch.bfloat16)):
        halved.load_state_dict(norm.state_dict())
        assert halved(far).dtype == torch.bfloat16
        torch.testing.assert_close(halved(far).float(), exact, rtol=0.02, atol=0.02)


def test_blocks_compute_in_their_own_precision_and_return_that_of_the_input() -> None:
    model = transformer().to(torch.bfloat16)
    assert model.dtype == torch.bfloat16
    output = model(x().float())
    assert output.dtype == torch.float32
    assert {cache.dtype for cache in model.init_caches(1, torch.device("cpu"))} == {torch.bfloat16}


def test_hidden_states_and_the_attention_of_selected_heads_are_recorded() -> None:
    model = transformer()
    recorded = RecordedOutputs(hidden_states=[], heads=[(0, 1), (2, 0)])
    output = model(x(13), recorded=recorded)
    assert recorded.hidden_states is not None
    assert torch.equal(recorded.hidden_states[0], x(13))
    assert torch.equal(recorded.hidden_states[-1], output)
    assert len(recorded.hidden_states) == 4
    assert recorded.attentions.keys() == {(0, 1), (2, 0)}
    assert {weights.shape for weights in recorded.attentions.values()} == {(2, 13, 13)}
    padded = torch.nn.functional.pad(x(13), (0, 0, 0, 5))
    block = model.blocks[0]
    expected = block.attn.weights(block.norm1(padded), None, head=1)
    torch.testing.assert_close(recorded.attentions[0, 1], expected[:, :13, :13])
