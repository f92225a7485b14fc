"""Models with random weights in the measured shapes."""

from typing import Any

import torch
from torch import nn

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig

SHAPE = {"hidden_size": 512, "num_hidden_layers": 24, "n_ctx": 2048, "attention_blocks": 64}  # the measured upsampler
SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "n_ctx": 1024, "attention_blocks": 32}  # the top prior above it
NARROW = {"hidden_size": 64, "num_hidden_layers": 20, "alignment_layer": None}
NAMES = {"artists": {"unknown": 0}, "genres": {"unknown": 0}}
PUBLISHED = ("1b_lyrics", "5b_lyrics")


def upsampler(**shape: Any) -> JukeboxPrior:
    """Make a random upsampler that fits the peer's prior of level 1, with a quarter as many upper codes."""
    torch.manual_seed(0)
    config = {"conditioner_width": 256, "conditioner_depth": 4, "codebook_size": 2048, "upsampling_strides": [2, 2]}
    prior = JukeboxPrior(JukeboxPriorConfig.from_preset("small_upsampler", **(config | shape))).eval()
    randomize(prior)
    return prior


def randomize(prior: JukeboxPrior) -> None:
    """Draw all weights anew, so large that every layer matters, and so small that filters do not explode."""
    for parameter in prior.parameters():
        parameter.data.normal_(std=0.1 if parameter.dim() == 1 else parameter[0].numel() ** -0.5)


def halve_blocks(prior: JukeboxPrior, dtype: torch.dtype) -> None:
    """Convert the linear layers of the blocks alone, as `from_pretrained` does with a `dtype`."""
    encoder = prior.lyrics_encoder
    for transformer in [prior.transformer, *([] if encoder is None else [encoder.transformer])]:
        for block in transformer.blocks:
            for layer in block.modules():
                if isinstance(layer, nn.Linear):
                    layer.to(dtype)


def quantize_blocks(prior: JukeboxPrior) -> None:
    """Quantise the linear layers of the blocks to int8."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(prior.transformer, Int8WeightOnlyConfig())


def weight_bytes(module: nn.Module) -> int:
    """Return the bytes of the weights of a module, as they are stored."""
    return sum(getattr(tensor, "qdata", tensor).nbytes for tensor in module.state_dict().values())


def random_pipeline(shape: str, dtype: torch.dtype, device: torch.device, narrow: bool = False) -> JukeboxPipeline:
    """Make a pipeline of a published shape or, for "upsampler", of `upsampler` under a small top prior.

    `narrow` makes a published model small enough to try the benchmark.
    """
    torch.manual_seed(0)
    with device:
        if shape == "upsampler":
            two_levels = {"downs_t": [3, 2], "strides_t": [2, 2], "multipliers": [2, 1]}
            vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("5b", **two_levels))
            hops, rate = vqvae.config.hop_lengths, {"sampling_rate": vqvae.config.sampling_rate}
            top = {"level": 1, "hop_length": hops[1], "codebook_size": vqvae.config.codebook_size}
            priors = [
                upsampler(**SHAPE, **rate, hop_length=hops[0]),
                JukeboxPrior(JukeboxPriorConfig.from_preset("small_prior", **SMALL, **rate, **top)),
            ]
        else:
            vqvae = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("5b"))
            presets = ("upsampler_level_0", "upsampler_level_1", f"prior_{shape}")
            smaller = NARROW if narrow else {}
            priors = [JukeboxPrior(JukeboxPriorConfig.from_preset(preset, **NAMES, **smaller)) for preset in presets]
    for prior in priors:
        halve_blocks(prior, dtype)
    return JukeboxPipeline(vqvae, None, *priors)
