"""Stages of a level: number, width and order of the convolutions."""

import pytest
import torch

from hf_jukebox.layers.autoencoder import Decoder, Encoder
from hf_jukebox.layers.resnet import ResidualShape

SHAPE = ResidualShape(width=6, depth=2)


@pytest.mark.parametrize(
    ("downs", "strides", "hop"), [([3], [2], 8), ([3, 2], [2, 2], 32), ([1, 2], [4, 2], 16), ([1], [6], 6)]
)
def test_encoder_and_decoder_have_one_vector_per_hop(downs: list[int], strides: list[int], hop: int) -> None:
    encoder, decoder = Encoder(5, downs, strides, SHAPE), Decoder(5, downs, strides, SHAPE)
    for samples in (hop, 3 * hop, 4 * hop - 1):
        hidden = encoder(torch.randn(2, 1, samples))
        assert hidden.shape == (2, 5, samples // hop)
        assert decoder(hidden).shape == (2, 1, samples // hop * hop)


def test_a_level_has_the_published_convolutions() -> None:
    encoder, decoder = Encoder(5, [2, 1], [2, 4], SHAPE), Decoder(5, [2, 1], [2, 4], SHAPE)

    def described(stage: torch.nn.Module) -> list[tuple[int, ...]]:
        return [
            (conv.in_channels, conv.out_channels, *conv.kernel_size, *conv.stride, *conv.padding)
            for conv in stage.convs
        ]

    assert [described(stage) for stage in encoder.stages] == [[(1, 6, 4, 2, 1), (6, 6, 4, 2, 1)], [(5, 6, 8, 4, 2)]]
    assert [described(stage) for stage in decoder.stages] == [[(6, 6, 4, 2, 1), (6, 5, 4, 2, 1)], [(6, 5, 8, 4, 2)]]
    assert all(stage.proj_out.out_channels == 5 for stage in encoder.stages)
    assert all(stage.proj_in.in_channels == 5 for stage in decoder.stages)


def test_a_decoder_runs_its_stages_in_reverse_with_the_largest_dilation_first() -> None:
    decoder = Decoder(5, [1, 1], [2, 2], SHAPE)
    order: list[int] = []
    for number, stage in enumerate(decoder.stages):
        stage.register_forward_hook(lambda *_, number=number: order.append(number))
    decoder(torch.randn(1, 5, 3))
    assert order == [1, 0]
    assert [block.conv1.dilation for block in decoder.stages[0].stacks[0]] == [(3,), (1,)]
