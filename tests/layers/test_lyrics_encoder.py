"""The separate encoder of the lyrics."""

import torch
from helpers.random_priors import randomize

from hf_jukebox.layers.attention import AttentionShape
from hf_jukebox.layers.lyrics_encoder import LyricsEncoder
from hf_jukebox.layers.transformer import TransformerShape


def test_the_state_at_a_character_depends_only_on_the_characters_before_it() -> None:
    shape = AttentionShape(width=8, state=4, heads=2, rows=2, positions=8)
    encoder = LyricsEncoder(9, TransformerShape(shape, depth=3, order=2, mlp_width=8), out_width=16)
    randomize(encoder)
    tokens = torch.randint(9, (2, 8), generator=torch.Generator().manual_seed(0))
    states = encoder(tokens)
    assert states.shape == (2, 8, 16)
    for position in range(8):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % 9
        same = (encoder(changed) == states).all(-1)
        assert same[:, : position + 1].all()
        if position < 7:
            assert not same[:, position + 1].any()
