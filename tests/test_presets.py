"""The published models by name: their sizes, and that every preset can be built."""

import pytest
import torch

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.presets import ALPHABET_V2, ALPHABET_V3, PRIOR_PRESETS, VQVAE_PRESETS


def prior_on_meta(name: str) -> JukeboxPrior:
    with torch.device("meta"):
        return JukeboxPrior(JukeboxPriorConfig.from_preset(name))


def vqvae_on_meta(name: str) -> JukeboxVQVAE:
    with torch.device("meta"):
        return JukeboxVQVAE(JukeboxVQVAEConfig.from_preset(name))


@pytest.mark.parametrize(
    ("name", "parameters", "published"),
    [
        ("prior_1b_lyrics", 942_643_200, 0.94e9),
        ("prior_5b", 5_060_452_800, 5.06e9),
        ("prior_5b_lyrics", 5_640_506_800, 5.64e9),
        ("upsampler_level_0", 981_298_176, 0.98e9),
        ("upsampler_level_1", 981_298_176, 0.98e9),
    ],
)
def test_the_released_priors_have_the_published_sizes(name: str, parameters: int, published: float) -> None:
    prior = prior_on_meta(name)
    assert prior.num_parameters() == parameters
    assert round(parameters, -7) == published


def test_the_released_vqvae_has_the_published_sizes() -> None:
    vqvae = vqvae_on_meta("5b")
    assert vqvae.num_parameters() == 1_485_763
    assert [tuple(quantizer.codebook.shape) for quantizer in vqvae.quantizers] == [(2048, 64)] * 3
    assert vqvae.config.hop_lengths == [8, 32, 128]
    assert JukeboxVQVAEConfig().to_dict() == vqvae.config.to_dict()


@pytest.mark.parametrize("name", PRIOR_PRESETS)
def test_every_prior_can_be_built(name: str) -> None:
    config = prior_on_meta(name).config
    assert (config.alphabet in (ALPHABET_V2, ALPHABET_V3)) == (config.n_lyrics > 0)


@pytest.mark.parametrize("name", VQVAE_PRESETS)
def test_every_vqvae_can_be_built(name: str) -> None:
    assert vqvae_on_meta(name).config.num_levels in (2, 3)


def test_the_released_priors_have_the_published_windows() -> None:
    windows = {
        "upsampler_level_0": 65536,
        "upsampler_level_1": 262144,
        "prior_5b": 1048576,
        "prior_5b_lyrics": 1048576,
        "prior_1b_lyrics": 786432,
    }
    assert {name: JukeboxPriorConfig.from_preset(name).window_length for name in windows} == windows


def test_the_released_priors_fit_their_vqvae() -> None:
    systems = {
        "5b": ["upsampler_level_0", "upsampler_level_1", "prior_5b"],
        "small_vqvae": ["small_upsampler", "small_prior"],
    }
    for name, priors in systems.items():
        vqvae = JukeboxVQVAEConfig.from_preset(name)
        for level, config in enumerate(JukeboxPriorConfig.from_preset(prior) for prior in priors):
            assert config.level == level
            assert config.hop_length == vqvae.hop_lengths[level]
            assert config.codebook_size == vqvae.codebook_size
            assert config.sampling_rate == vqvae.sampling_rate
            if config.is_upsampler:
                assert config.hop_length * config.upsampling_ratio == vqvae.hop_lengths[level + 1]


def test_the_alphabets_have_the_published_sizes() -> None:
    assert JukeboxPriorConfig.from_preset("prior_5b_lyrics").lyrics_vocab_size == 80
    assert JukeboxPriorConfig.from_preset("prior_1b_lyrics").lyrics_vocab_size == 79
    assert set(ALPHABET_V2) - set(ALPHABET_V3) == {"+"}
    assert ALPHABET_V2[:3] + ALPHABET_V2[26:29] + ALPHABET_V2[52:55] + ALPHABET_V2[-3:] == "ABCabc012 \t\n"


def test_settings_of_a_preset_can_be_overridden() -> None:
    config = JukeboxPriorConfig.from_preset("tiny_prior", n_ctx=128)
    assert (config.n_ctx, config.hidden_size) == (128, 32)
    assert JukeboxPriorConfig.from_preset("tiny_prior").n_ctx == 64  # the preset itself is as it was
    assert JukeboxVQVAEConfig.from_preset("tiny_vqvae", width=16).width == 16


@pytest.mark.parametrize(("config", "name"), [(JukeboxPriorConfig, "prior_5b"), (JukeboxVQVAEConfig, "small_vqvae")])
def test_an_unknown_preset_is_an_error_that_lists_the_presets(
    config: type[JukeboxPriorConfig] | type[JukeboxVQVAEConfig], name: str
) -> None:
    with pytest.raises(ValueError, match=f"There is no preset 'nonsense'; choose one of .*{name}"):
        config.from_preset("nonsense")
