"""A head that is made to follow the lyrics is the one that the search finds."""

import math

import pytest
import torch
from helpers.tiny_training import tiny_prior

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.alignment_head import find_alignment

JOINT = {"lyrics_scheme": "joint", "num_hidden_layers": 17, "attention_order": 12}
DENSE = JOINT | {"num_hidden_layers": 48}  # the last layer is the first that is dense
ALL_DENSE = JOINT | {"num_hidden_layers": 3, "attention_order": 0}


def half_circle(steps: int, width: int, first: int = 0) -> torch.Tensor:
    """`[steps, width]`: two entries turn by half a circle; every row has mean 0, as a LayerNorm leaves it."""
    angle = math.pi * torch.arange(steps) / steps
    turn = torch.stack([angle.cos(), angle.sin(), -angle.cos(), -angle.sin()], dim=1)
    return 10 * torch.cat([torch.zeros(steps, first), turn, torch.zeros(steps, width - 4 - first)], dim=1)


@torch.no_grad()
def make_follow(prior: JukeboxPrior, layer: int, head: int) -> None:
    """Positions of codes and characters become angles; the head compares them, and they meet at equal shares."""
    config, attention = prior.config, prior.transformer.blocks[layer].attn
    width, at = config.hidden_size, 4 if config.num_joint_lyrics else 0  # keys of characters, not of codes
    places = [half_circle(config.num_joint_lyrics, width, at), half_circle(config.n_ctx, width)]
    prior.position_embedding.copy_(torch.cat(places))
    state, first = attention.shape.state, head * attention.shape.head_dim
    if prior.lyrics_encoder is None:
        queries, keys = attention.qkv_proj.weight[:state], attention.qkv_proj.weight[state : 2 * state]
    else:
        encoder = prior.lyrics_encoder
        encoder.position_embedding.copy_(half_circle(config.n_lyrics, config.lyrics_hidden_size))
        encoder.proj.weight.copy_(torch.eye(*encoder.proj.weight.shape))
        queries, keys = attention.q_proj.weight, attention.kv_proj.weight[:state]
    queries[first : first + 2] = 5 * torch.eye(2, width)
    keys[first : first + 2] = 5 * torch.eye(2, width).roll(at, 1)


@pytest.mark.parametrize(
    ("settings", "layer", "head"),
    [({}, 9, 1), ({}, 9, 0), (JOINT, 15, 1), (DENSE, 47, 1), (ALL_DENSE, 2, 0)],
    ids=["encoder, second head", "encoder, first head", "one sequence", "a dense layer among others", "dense alone"],
)
def test_it_is_found(settings, layer, head):
    prior = tiny_prior("tiny_lyrics_prior", **settings).eval()
    make_follow(prior, layer, head)
    config, generator = prior.config, torch.Generator().manual_seed(0)
    timing = torch.tensor([[20 * config.sampling_rate, 0, config.window_length, 1, 1]] * 3)
    lyrics = torch.randint(1, config.lyrics_vocab_size, (3, config.n_lyrics), generator=generator)
    codes = torch.randint(config.codebook_size, (3, config.n_ctx), generator=generator)
    found = find_alignment(prior, [{"codes": codes, "labels": torch.cat([timing, lyrics], dim=1)}])
    assert found[:2] == (layer, head)
    assert found[2] > 0.5
