"""The converted small models of tests/fixtures/golden, whose measured outputs are in the files beside them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from hf_jukebox.configuration_jukebox import JukeboxVQVAEConfig
from hf_jukebox.convert import convert_openai
from hf_jukebox.convert.openai import convert_prior, convert_vqvae
from hf_jukebox.convert.openai_settings import SettingsSource
from hf_jukebox.modeling_prior import JukeboxPrior
from hf_jukebox.modeling_vqvae import JukeboxVQVAE

ORIGINAL = Path(__file__).parents[1] / "fixtures" / "golden" / "openai"
IDS = ORIGINAL / "ids"

# Every prior and its level; those of level 2 go with both upsamplers.
PRIORS = {
    "upsampler_level_0": 0,
    "upsampler_level_1": 1,
    "prior_5b": 2,
    "prior_5b_lyrics": 2,
    "prior_1b_lyrics": 2,
    "small_sep_enc_dec": 2,
    "small_prior": 2,
    "dense_prior": 2,
}


def checkpoint(name: str) -> Path:
    """Return the original file of a model."""
    return ORIGINAL / f"{name}.pth.tar"


def golden_vqvae() -> JukeboxVQVAE:
    """Return the VQ-VAE of all priors, in evaluation mode."""
    with tempfile.TemporaryDirectory() as folder:
        convert_vqvae(checkpoint("vqvae"), Path(folder) / "vqvae", SettingsSource())
        return JukeboxVQVAE.from_pretrained(Path(folder) / "vqvae")


def golden_prior(name: str) -> JukeboxPrior:
    """Return one of `PRIORS`, in evaluation mode."""
    with tempfile.TemporaryDirectory() as folder:
        source = checkpoint(name)
        convert_prior(source, Path(folder) / name, PRIORS[name], _vqvae_config(), SettingsSource(), IDS)
        return JukeboxPrior.from_pretrained(Path(folder) / name)


def golden_pipeline_folder(top: str, folder: Path) -> Path:
    """Write the pipeline of a top prior and both upsamplers to `folder / top`."""
    priors = [checkpoint(name) for name in ("upsampler_level_0", "upsampler_level_1", top)]
    convert_openai(checkpoint("vqvae"), priors, folder / top, ids=IDS)
    return folder / top


@cache
def _vqvae_config() -> JukeboxVQVAEConfig:
    return golden_vqvae().config
