"""Configurations: derived values, saving and loading, and the settings they refuse."""

from pathlib import Path
from typing import Any

import pytest

from hf_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig

LABELS: dict[str, Any] = {"num_artists": 3, "num_genres": 2}
LYRICS: dict[str, Any] = LABELS | {"lyrics_scheme": "separate", "alphabet": "ab", "n_lyrics": 64, "attention_order": 8}


def test_hop_lengths_run_from_the_finest_level_up() -> None:
    config = JukeboxVQVAEConfig(downs_t=(5, 3), strides_t=(2, 2), multipliers=(1, 1))
    assert config.hop_lengths == [32, 256]
    assert config.num_levels == 2


def test_a_top_prior_without_labels_has_neither_labels_nor_timing() -> None:
    config = JukeboxPriorConfig()
    assert not config.is_upsampler
    assert not config.has_labels
    assert not config.has_timing
    assert config.upsampling_ratio == 1
    assert config.window_length == 8192 * 128


def test_an_upsampler_has_labels_but_no_timing() -> None:
    config = JukeboxPriorConfig(upsampling_strides=(2, 2, 2), **LABELS)
    assert config.is_upsampler
    assert config.has_labels
    assert not config.has_timing
    assert config.upsampling_ratio == 8


def test_a_label_row_holds_timing_artist_genres_and_lyrics() -> None:
    config = JukeboxPriorConfig(genre_words=5, **LYRICS)
    assert config.label_length == 3 + 1 + 5 + 64
    assert config.lyrics_vocab_size == 3  # the unknown character comes first
    assert config.num_joint_lyrics == 0
    assert JukeboxPriorConfig(**(LYRICS | {"lyrics_scheme": "joint", "attention_order": 12})).num_joint_lyrics == 64


def test_only_a_merged_decoder_has_an_untied_output_matrix() -> None:
    assert JukeboxPriorConfig().tie_word_embeddings
    assert not JukeboxPriorConfig(merged_decoder=True).tie_word_embeddings


@pytest.mark.parametrize(
    "config",
    [
        JukeboxPriorConfig(artists={"a": 0, "b": 2}, genres={"rock": 1}, init_scale=1, **LYRICS),
        JukeboxVQVAEConfig(downs_t=(5, 3), strides_t=(2, 2), multipliers=(1, 1), l2_normalizer=0.05),
    ],
)
def test_a_saved_configuration_loads_unchanged(config: JukeboxPriorConfig | JukeboxVQVAEConfig, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    assert type(config).from_pretrained(tmp_path).to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strides_t": (2, 2)}, "one entry per level each, but have 3, 2 and 3"),
        ({"downs_t": [], "strides_t": [], "multipliers": []}, "one entry per level each, but have 0, 0 and 0"),
        ({"strides_t": (3, 2, 2)}, r"strides_t must be even, got \[3, 2, 2\]"),
        ({"strides_t": (0, 2, 2)}, r"strides_t must be even, got \[0, 2, 2\]"),
        ({"downs_t": (0, 2, 2)}, r"downs_t and multipliers must be at least 1, got \[0, 2, 2\] and \[2, 1, 1\]"),
        ({"codebook_size": 0}, "codebook_size must be at least 1, not 0"),
        ({"width": "32"}, "Field 'width' expected int, got str"),
        ({"reconstruction_loss": "l3"}, "reconstruction_loss must be l1, l2, linf or lmix, not 'l3'"),
    ],
)
def test_a_vqvae_that_cannot_be_built_is_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^JukeboxVQVAEConfig: .*{message}") as error:
        JukeboxVQVAEConfig(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_ctx": "8192"}, "Field 'n_ctx' expected int, got str"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
        ({"attention_blocks": 0}, "attention_blocks must be at least 1, not 0"),
        ({"attention_order": 3}, r"attention_order must be one of \(0, 2, 8, 10, 12\), not 3"),
        ({"n_ctx": 8191}, "8191 positions do not fold into attention_blocks=64 rows"),
        ({"num_attention_heads": 3}, "3 heads do not divide the attention state of 256; change num_attention_heads"),
        ({"upsampling_strides": [3]}, "n_ctx=8192 is not a multiple of the upsampling ratio 3"),
        ({"label_rules": "v4"}, "label_rules must be 'v2' or 'v3', not 'v4'"),
        ({"num_artists": 3}, "A prior with labels needs num_genres of at least 1"),
        (LABELS | {"artists": {"a": 3}}, "artists holds the id 3, but there are only 3 rows"),
        (LABELS | {"genres": {"a": 2}}, "genres holds the id 2, but there are only 2 rows"),
        ({"lyrics_scheme": "sung"}, "lyrics_scheme must be None, 'separate' or 'joint', not 'sung'"),
        ({"n_lyrics": 8}, "n_lyrics=8 needs a lyrics_scheme, 'separate' or 'joint'"),
        ({"attention_order": 8}, "attention_order=8 with 48 layers uses lyrics: set lyrics_scheme='separate'"),
        (LYRICS | {"attention_order": 12}, "attention_order=12 with 48 layers uses lyrics: set lyrics_scheme='joint'"),
        (LYRICS | {"num_artists": 0}, "Lyrics need labels"),
        (LYRICS | {"n_lyrics": 63}, "an even n_lyrics above 0"),
        (LYRICS | {"n_lyrics": 60}, "n_lyrics=60 does not fold into lyrics_attention_blocks=32"),
        (LYRICS | {"lyrics_attention_order": 8}, "lyrics_attention_order must be 0 or 2, not 8"),
        (LYRICS | {"lyrics_num_attention_heads": 3}, "change lyrics_num_attention_heads or lyrics_hidden_size"),
        (LYRICS | {"alignment_layer": 48}, "alignment_layer=48 is out of range; the model has 48 layers"),
        (LYRICS | {"alignment_head": 1}, "alignment_head=1 is out of range; the model has 1 heads"),
    ],
)
def test_a_prior_that_cannot_be_built_is_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^JukeboxPriorConfig: .*{message}") as error:
        JukeboxPriorConfig(**settings)
    assert "\n" not in str(error.value)


def test_a_configuration_file_that_cannot_be_built_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"n_ctx": 8191}')
    with pytest.raises(ValueError, match="8191 positions do not fold"):
        JukeboxPriorConfig.from_pretrained(tmp_path)
