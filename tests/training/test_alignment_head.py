import pytest
import torch
from helpers.tiny_training import loop_arguments, prior_trainer, tiny_prior
from torch.nn.functional import one_hot

from hf_jukebox import JukeboxPrior
from hf_jukebox.training.alignment_head import find_alignment, follows


def test_attention_that_moves_with_the_song_scores_highest():
    time, words = 60, 20
    at = torch.arange(time) * words // time
    forward = one_hot(at, words).float()
    characters = torch.ones(1, words, dtype=torch.bool)
    score = {
        "forward": follows(forward[None], characters),
        "backward": follows(forward.flip(0)[None], characters),
        "everywhere": follows(torch.full((1, time, words), 1 / words), characters),
        "still": follows(one_hot(torch.zeros_like(at), words).float()[None], characters),
        "faintly forward": follows(0.1 * forward[None], characters),
    }
    assert score["forward"] > 0.99
    assert score["backward"] < -0.99
    assert abs(score["everywhere"]) < 1e-3 and abs(score["still"]) < 1e-3
    assert 0 < score["faintly forward"] < 0.2


@pytest.mark.parametrize("preset", ["tiny_lyrics_prior", "joint"])
def test_the_head_that_follows_is_found(preset):
    if preset == "joint":
        joint = {"lyrics_scheme": "joint", "attention_order": 12, "num_hidden_layers": 17, "num_attention_heads": 2}
        prior = tiny_prior("tiny_lyrics_prior", n_ctx=64, n_lyrics=32, **joint)
    else:
        prior = tiny_prior("tiny_lyrics_prior", init_scale=4.0)
    batches = [windows(prior, seed) for seed in range(2)]
    layer, head, score = find_alignment(prior.eval(), batches)
    assert prior.transformer.kinds[layer] in (6, 7) and 0 <= head < 2 and -1 <= score <= 1

    prior.config.alignment_layer, prior.config.alignment_head = layer, head
    attention = prior.alignment(**batches[0])  # the pair is one that the prior can be asked for
    assert attention.shape == (2, prior.config.n_ctx, prior.config.n_lyrics)


def test_training_notes_the_pair_in_the_config(tmp_path):
    prior_trainer(loop_arguments(tmp_path, max_train_steps=1), tiny_prior("tiny_lyrics_prior")).train()
    config = JukeboxPrior.from_pretrained(tmp_path).config
    assert config.alignment_layer == 9 and config.alignment_head in (0, 1)


def test_windows_without_words_decide_nothing():
    prior = tiny_prior("tiny_lyrics_prior").eval()
    batch = windows(prior, 0)
    batch["labels"][:, -prior.config.n_lyrics :] = 0
    with pytest.raises(ValueError, match="no windows with lyrics"):
        find_alignment(prior, [batch])
    with pytest.raises(ValueError, match="reads no lyrics"):
        find_alignment(tiny_prior(), [])


def windows(prior: JukeboxPrior, seed: int) -> dict[str, torch.Tensor]:
    config, generator = prior.config, torch.Generator().manual_seed(seed)
    row = torch.tensor([[20 * config.sampling_rate, 0, config.window_length, 1, 1]] * 2)
    lyrics = torch.randint(1, config.lyrics_vocab_size, (2, config.n_lyrics), generator=generator)
    codes = torch.randint(config.codebook_size, (2, config.n_ctx), generator=generator)
    return {"codes": codes, "labels": torch.cat([row, lyrics], dim=1)}
