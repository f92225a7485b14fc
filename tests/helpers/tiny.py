"""Random models small enough to sample whole pieces in a test: three levels, hops 8, 32 and 128, 22050 Hz."""

from typing import Any

import torch

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig

RATE = 22050
TOP_HOP = 128
ARTISTS = {"unknown": 0, "the lanterns": 1, "night bus": 2}
GENRES = {"unknown": 0, "rock": 1, "deep house": 2}
NAMES = {"num_artists": 3, "num_genres": 3, "artists": ARTISTS, "genres": GENRES}


def tiny_vqvae(seed: int = 0, **config: Any) -> JukeboxVQVAE:
    torch.manual_seed(seed)
    vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("tiny_vqvae", **config))
    with torch.no_grad():
        vqvae.train()(noise_audio(128 * TOP_HOP / RATE, seed)[None])  # initialises the codebooks
    return vqvae.eval()


def tiny_prior(preset: str, seed: int = 0, **config: Any) -> JukeboxPrior:
    """Return a random prior whose logits are far enough apart to have no ties in greedy sampling."""
    torch.manual_seed(seed)
    prior = JukeboxPrior(JukeboxPriorConfig.from_preset(preset, init_scale=8.0, **config))
    return prior.eval()


def tiny_pipeline(top: str = "tiny_prior", seed: int = 0, **top_config: Any) -> JukeboxPipeline:
    """Return a pipeline of three levels; `top` is the preset of its top prior."""
    if top != "tiny_prior":
        top_config = NAMES | top_config
    pipeline = JukeboxPipeline(
        tiny_vqvae(seed),
        prior_0=tiny_prior("tiny_upsampler", seed + 1),
        prior_1=tiny_prior("tiny_upsampler", seed + 2, level=1, hop_length=32),
        prior_2=tiny_prior(top, seed + 3, **top_config),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def noise_audio(seconds: float, seed: int = 0) -> torch.Tensor:
    """Return noise `[T]`, so that the codes of a piece differ."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(round(seconds * RATE), generator=generator) - 0.5


def codes_in_s(top_codes: float) -> float:
    """Convert top-level codes to seconds."""
    return top_codes * TOP_HOP / RATE
