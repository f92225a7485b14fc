"""Consistency of a VQ-VAE with its priors."""

import pytest

from hf_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from hf_jukebox.hierarchy import Hierarchy

VQVAE = JukeboxVQVAEConfig.from_preset("5b")


@pytest.mark.parametrize(("level", "preset"), list(enumerate(["upsampler_level_0", "upsampler_level_1", "prior_5b"])))
def test_settings_from_the_vqvae_are_those_of_the_released_priors(level: int, preset: str) -> None:
    released = JukeboxPriorConfig.from_preset(preset)
    settings = Hierarchy.prior_settings(VQVAE, level)
    assert settings == {name: getattr(released, name) for name in settings}


@pytest.mark.parametrize("level", [-1, 3])
def test_there_are_no_settings_for_a_level_that_the_vqvae_lacks(level: int) -> None:
    with pytest.raises(ValueError, match=f"There is no level {level}: the VQ-VAE has levels 0 to 2"):
        Hierarchy.prior_settings(VQVAE, level)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_length": 64}, "has hop_length 64, but the VQ-VAE needs 32"),
        ({"sampling_rate": 22050}, "has sampling_rate 22050, but the VQ-VAE needs 44100"),
        ({"codebook_size": 64}, "has codebook_size 64, but the VQ-VAE needs 2048"),
        ({"upsampling_strides": [2]}, "has upsampling_ratio 2, but the VQ-VAE needs 4"),
    ],
)
def test_a_prior_of_another_vqvae_is_rejected(change: dict[str, object], message: str) -> None:
    prior = JukeboxPriorConfig.from_preset("upsampler_level_1", **change)
    with pytest.raises(ValueError, match=f"The prior of level 1 {message}"):
        Hierarchy.of(VQVAE, [prior])


def test_priors_may_be_missing_but_not_given_twice() -> None:
    prior = JukeboxPriorConfig.from_preset("upsampler_level_1")
    assert Hierarchy.of(VQVAE, [prior]).priors == [None, prior, None]
    with pytest.raises(ValueError, match="Two priors are of level 1; give one per level"):
        Hierarchy.of(VQVAE, [prior, prior])
