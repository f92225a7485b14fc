"""The fast paths give the results and gradients of the formulas that they replace."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_jukebox.layers.fast_paths import Linear, int8_products, pass_attention, quick_gelu

INPUTS = {
    "two dimensions": torch.randn(5, 6),
    "one row": torch.randn(6),
    "transposed": torch.randn(5, 2, 6).transpose(0, 1),
    "repeated": torch.randn(1, 6).expand(3, 6),
    "none": torch.randn(2, 0, 6),
}


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def layers(request) -> tuple[Linear, nn.Linear]:
    ours, plain = Linear(6, 4, bias=request.param), nn.Linear(6, 4, bias=request.param)
    ours.load_state_dict(plain.state_dict())
    return ours, plain


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_results_and_gradients_are_those_of_a_plain_layer(layers, inputs):
    found = []
    for layer in layers:
        x = inputs.clone().requires_grad_()
        y = layer(x)
        gradients = torch.autograd.grad((y**3).sum() + y.sum(), [x, *layer.parameters()])
        found.append([y, *gradients])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_gradients_of_gradients_are_those_of_a_plain_layer(layers):
    found = []
    for layer in layers:
        x = INPUTS["two dimensions"].clone().requires_grad_()
        (gradient,) = torch.autograd.grad((layer(x) ** 3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad((gradient**2).sum(), [x, layer.weight]))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_frozen_weights_and_fixed_inputs_get_no_gradients(layers):
    layer, x = layers[0], INPUTS["two dimensions"].clone().requires_grad_()
    layer.requires_grad_(False)
    layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
    layer.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_in_evaluation_mode_results_are_bitwise_those_of_a_plain_layer(layers):
    ours, plain = layers
    ours.eval()
    assert torch.equal(ours(INPUTS["two dimensions"]), plain(INPUTS["two dimensions"]))


def test_autocast_decides_the_precision(layers):
    with torch.autocast("cpu", torch.bfloat16):
        assert layers[0](INPUTS["two dimensions"]).dtype == torch.bfloat16


def test_quick_gelu_is_the_sigmoid_form_of_gelu():
    z = torch.linspace(-8, 8, 101)
    torch.testing.assert_close(quick_gelu(z), z * torch.sigmoid(1.702 * z))


def test_the_gradient_of_quick_gelu_is_that_of_its_formula():
    z = torch.linspace(-8, 8, 101, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick_gelu, z)


def test_a_traced_quick_gelu_has_the_same_gradient():
    z = torch.randn(20, requires_grad=True)
    expected = torch.autograd.grad(quick_gelu(z).sum(), z)
    torch._dynamo.reset()
    traced = torch.compile(quick_gelu, backend="eager")
    torch.testing.assert_close(torch.autograd.grad(traced(z).sum(), z), expected)


@pytest.mark.parametrize("zero", [0, 3])
def test_products_of_int8_weights_are_those_of_the_weights_that_they_stand_for(zero):
    row, generator = torch.randn(64), torch.Generator().manual_seed(0)
    quantized = torch.randint(-128, 128, (16, 64), generator=generator).to(torch.int8)
    scale, zeros = torch.rand(16, 1, generator=generator), torch.full((16, 1), zero, dtype=torch.int8)
    weight = SimpleNamespace(qdata=quantized, zero_point=zeros, scale=scale)
    found = [int8_products(row, weight, in_one_pass) for in_one_pass in (True, False)]
    expected = ((quantized.float() - zeros.float()) * scale) @ row
    for products in found:
        torch.testing.assert_close(products, expected, rtol=1e-4, atol=1e-3)
    if zero == 0:  # as torchao quantises
        assert torch.equal(*found)


@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_in_bfloat16_has_the_gradients_of_float32(is_causal):
    inputs = [torch.randn(2, 2, 9, 4).bfloat16() for _ in range(3)]
    found = []
    for dtype, function in (
        (torch.bfloat16, pass_attention),
        (torch.float32, nn.functional.scaled_dot_product_attention),
    ):
        q, k, v = leaves = [each.to(dtype).requires_grad_() for each in inputs]
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = function(q, k, v, is_causal=is_causal)
        assert y.dtype == dtype
        found.append([y, *torch.autograd.grad((y.float() ** 2).sum(), leaves)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.float(), exact, atol=0.03, rtol=0.02)
