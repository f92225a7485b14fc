"""Residual stacks, written out."""

import pytest
import torch
import torch.nn.functional as F
from helpers.random_priors import randomize

from hf_jukebox.layers.resnet import ResidualShape, ResidualStack


@pytest.mark.parametrize(
    ("shape", "reverse", "dilations", "scale"),
    [
        (ResidualShape(width=4, depth=4), False, [1, 3, 9, 27], 1.0),
        (ResidualShape(width=4, depth=4), True, [27, 9, 3, 1], 1.0),
        (ResidualShape(width=4, depth=4, dilation_cycle=2), False, [1, 3, 1, 3], 1.0),
        (ResidualShape(width=4, depth=4, dilation_growth_rate=2, res_scale=True), False, [1, 2, 4, 8], 0.5),
        (ResidualShape(width=4, depth=1, hidden_multiplier=2.0), False, [1], 1.0),
    ],
)
def test_a_stack_is_dilated_residuals(shape: ResidualShape, reverse: bool, dilations: list[int], scale: float) -> None:
    stack = ResidualStack(shape, reverse)
    randomize(stack)
    x = torch.randn(2, 4, 60, generator=torch.Generator().manual_seed(0))
    expected = x
    for block, dilation in zip(stack, dilations, strict=True):
        assert block.conv1.out_channels == int(4 * shape.hidden_multiplier)
        hidden = F.conv1d(expected.relu(), block.conv1.weight, block.conv1.bias, dilation=dilation, padding=dilation)
        expected = expected + scale * F.conv1d(hidden.relu(), block.conv2.weight, block.conv2.bias)
    torch.testing.assert_close(stack(x), expected)
