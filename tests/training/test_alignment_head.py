"""Search for the attention head that follows the lyrics."""

import math

import pytest
import torch
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior
from torch.nn.functional import one_hot

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.alignment_head import find_alignment, monotonicity

JOINT = {"lyrics_scheme": "joint", "num_hidden_layers": 17, "attention_order": 12}
DENSE = JOINT | {"num_hidden_layers": 48}  # the last layer is the first that is dense
ALL_DENSE = JOINT | {"num_hidden_layers": 3, "attention_order": 0}


def test_attention_that_moves_with_the_song_scores_highest():
    time, words = 60, 20
    at = torch.arange(time) * words // time
    forward = one_hot(at, words).float()
    characters = torch.ones(1, words, dtype=torch.bool)
    score = {
        "forward": monotonicity(forward[None], characters),
        "backward": monotonicity(forward.flip(0)[None], characters),
        "everywhere": monotonicity(torch.full((1, time, words), 1 / words), characters),
        "still": monotonicity(one_hot(torch.zeros_like(at), words).float()[None], characters),
        "faintly forward": monotonicity(0.1 * forward[None], characters),
    }
    assert score["forward"] > 0.99
    assert score["backward"] < -0.99
    assert abs(score["everywhere"]) < 1e-3 and abs(score["still"]) < 1e-3
    assert 0 < score["faintly forward"] < 0.2


@pytest.mark.parametrize("preset", ["tiny_lyrics_prior", "joint"])
def test_the_search_returns_a_layer_and_head_that_attend_to_lyrics(preset):
    if preset == "joint":
        joint = {"lyrics_scheme": "joint", "attention_order": 12, "num_hidden_layers": 17, "num_attention_heads": 2}
        prior = tiny_prior("tiny_lyrics_prior", n_ctx=64, n_lyrics=32, **joint)
    else:
        prior = tiny_prior("tiny_lyrics_prior", init_scale=4.0)
    batches = [windows(prior, seed) for seed in range(2)]
    layer, head, score = find_alignment(prior.eval(), batches)
    assert prior.transformer.kinds[layer] in (6, 7) and 0 <= head < 2 and -1 <= score <= 1

    prior.config.alignment_layer, prior.config.alignment_head = layer, head
    attention = prior.alignment(**batches[0])
    assert attention.shape == (2, prior.config.n_ctx, prior.config.n_lyrics)


def test_training_records_layer_and_head_in_the_config(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=1), tiny_prior("tiny_lyrics_prior")).train()
    config = JukeboxPrior.from_pretrained(tmp_path).config
    assert config.alignment_layer == 9 and config.alignment_head in (0, 1)


def test_windows_without_lyrics_are_rejected():
    prior = tiny_prior("tiny_lyrics_prior").eval()
    batch = windows(prior, 0)
    batch["labels"][:, -prior.config.n_lyrics :] = 0
    with pytest.raises(ValueError, match="no windows with lyrics"):
        find_alignment(prior, [batch])
    with pytest.raises(ValueError, match="uses no lyrics"):
        find_alignment(tiny_prior(), [])


def half_circle(steps: int, width: int, first: int = 0) -> torch.Tensor:
    """`[steps, width]`: two entries turn by half a circle; every row has mean 0, as a LayerNorm leaves it."""
    angle = math.pi * torch.arange(steps) / steps
    turn = torch.stack([angle.cos(), angle.sin(), -angle.cos(), -angle.sin()], dim=1)
    return 10 * torch.cat([torch.zeros(steps, first), turn, torch.zeros(steps, width - 4 - first)], dim=1)


@torch.no_grad()
def make_follow(prior: JukeboxPrior, layer: int, head: int) -> None:
    """Encode positions of codes and characters as angles, so that the head attends to the same share of the lyrics."""
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
def test_the_search_finds_a_head_that_is_made_to_follow_the_lyrics(settings, layer, head):
    prior = tiny_prior("tiny_lyrics_prior", **settings).eval()
    make_follow(prior, layer, head)
    found = find_alignment(prior, [windows(prior, seed=0, count=3)])
    assert found[:2] == (layer, head)
    assert found[2] > 0.5


def windows(prior: JukeboxPrior, seed: int, count: int = 2) -> dict[str, torch.Tensor]:
    config, generator = prior.config, torch.Generator().manual_seed(seed)
    row = torch.tensor([[20 * config.sampling_rate, 0, config.window_length, 1, 1]] * count)
    lyrics = torch.randint(1, config.lyrics_vocab_size, (count, config.n_lyrics), generator=generator)
    codes = torch.randint(config.codebook_size, (count, config.n_ctx), generator=generator)
    return {"codes": codes, "labels": torch.cat([row, lyrics], dim=1)}
