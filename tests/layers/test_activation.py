"""The activation of the blocks."""

import torch

from hf_jukebox.layers.activation import quick_gelu


def test_it_is_the_sigmoid_form_of_gelu() -> None:
    z = torch.linspace(-8, 8, 101)
    torch.testing.assert_close(quick_gelu(z), z * torch.sigmoid(1.702 * z))


def test_its_gradient_is_that_of_its_formula() -> None:
    z = torch.linspace(-8, 8, 101, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick_gelu, z)
