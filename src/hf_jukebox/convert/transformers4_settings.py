"""Conversion of the settings of transformers 4 to our configurations.

Their priors are numbered from the top; their lists of the VQ-VAE start with the finest level, like ours.
"""

from __future__ import annotations

import re
from typing import Any

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..hierarchy import Hierarchy
from ..presets import ALPHABET_V3
from .settings import Settings, alphabet_of, rename_settings

_ORDERS = {
    "full_dense_attention": 0,
    "raw_column_previous_row_attention": 2,
    "large_separated_enc_dec_w_lyrics": 10,
    "enc_dec_with_lyrics": 12,
}
_RELEASED = ("upsampler_level_0", "upsampler_level_1", "prior_5b", "prior_5b_lyrics", "prior_1b_lyrics")
# The outer configuration takes precedence for these.
_OUTER = ("sampling_rate", "timing_dims", "min_duration", "max_duration", "max_nb_genres", "metadata_conditioning")


def vqvae_config(settings: Settings) -> JukeboxVQVAEConfig:
    """Convert the settings of the VQ-VAE, from those of the whole model.

    Raises:
        ValueError: a setting is missing, or does not fit the others.
    """
    if not isinstance(settings.get("vqvae_config"), dict):
        raise ValueError("its settings lack vqvae_config")
    own = settings["vqvae_config"]
    found = rename_settings(
        own | {"sample_rate": settings.get("sampling_rate", own.get("sample_rate"))},
        required={},
        optional={
            "sampling_rate": "sample_rate",
            "downs_t": "res_downs_t",
            "strides_t": "res_strides_t",
            "codebook_size": "nb_discrete_codes",
            "codebook_dim": "embed_dim",
            "width": "res_conv_width",
            "depth": "res_conv_depth",
            "multipliers": "multipliers",
            "hidden_multiplier": "res_convolution_multiplier",
            "dilation_growth_rate": "res_dilation_growth_rate",
            "dilation_cycle": "res_dilation_cycle",
            "res_scale": "conv_res_scale",
            "ema_decay": "lmu",
            "commit_weight": "commit",
        },
    )
    return JukeboxVQVAEConfig(**found)


def prior_settings(settings: Settings) -> list[Settings]:
    """Return the settings of each prior, finest level first, from those of the whole model."""
    listed = settings.get("prior_config_list")
    if listed is None:
        numbered = sorted(name for name in settings if re.fullmatch(r"prior_\d", name))
        listed = [settings[name] for name in numbered]
    outer = {name: settings[name] for name in _OUTER if settings.get(name) is not None}
    return [prior | outer for prior in reversed(listed)]


def prior_config(settings: Settings, level: int, vqvae: JukeboxVQVAEConfig) -> JukeboxPriorConfig:
    """Convert the settings of the prior of a level, without its tables of artists and genres.

    A prior of the size of a released one gets the settings of our preset: the released repositories misstate the
    folding of the 5B prior and the alignment heads.

    Raises:
        ValueError: a setting is missing, or does not fit the others.
    """
    for name in _RELEASED:
        released = JukeboxPriorConfig.from_preset(name)
        sizes = (released.hidden_size, released.num_hidden_layers, released.n_ctx, released.level)
        if sizes == (settings.get("hidden_size"), settings.get("num_layers"), settings.get("n_ctx"), level):
            return released
    found = _transformer(settings) | rename_settings(
        settings,
        required={"n_ctx": "n_ctx"},
        optional={"res_scale": "attn_res_scale", "merged_decoder": "merged_decoder"},
    )
    found |= Hierarchy.prior_settings(vqvae, level)
    if found["upsampling_strides"]:
        found |= _conditioner(settings)
    if settings.get("metadata_conditioning", True):
        found |= _labels(settings)
    if settings.get("nb_relevant_lyric_tokens"):
        found |= _lyrics(settings, found["num_hidden_layers"], found["num_attention_heads"])
    found["label_rules"] = "v3" if found.get("alphabet") == ALPHABET_V3 else "v2"
    return JukeboxPriorConfig(**found)


def _transformer(settings: Settings) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={
            "hidden_size": "hidden_size",
            "num_hidden_layers": "num_layers",
            "num_attention_heads": "n_heads",
            "attention_blocks": "blocks",
            "attention_order": "attention_pattern",
        },
        optional={
            "attention_multiplier": "attention_multiplier",
            "mlp_multiplier": "mlp_multiplier",
            "init_scale": "init_scale",
        },
    )
    if found["attention_order"] not in _ORDERS:
        raise ValueError(
            f"the attention pattern {found['attention_order']!r} is not used by any released model; they use "
            f"{', '.join(_ORDERS)}"
        )
    return found | {"attention_order": _ORDERS[found["attention_order"]]}


def _conditioner(settings: Settings) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={
            "conditioner_width": "res_conv_width",
            "conditioner_depth": "res_conv_depth",
            "conditioner_dilation_growth_rate": "res_dilation_growth_rate",
        },
        optional={"conditioner_res_scale": "conv_res_scale"},
    )
    return found | {"conditioner_dilation_cycle": settings.get("res_dilation_cycle")}


def _labels(settings: Settings) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={"rows": "metadata_dims", "genre_words": "max_nb_genres"},
        optional={"num_time_bins": "timing_dims", "min_duration": "min_duration", "max_duration": "max_duration"},
    )
    found["num_genres"], found["num_artists"] = found.pop("rows")
    return found


def _lyrics(settings: Settings, num_layers: int, num_heads: int) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={"n_lyrics": "nb_relevant_lyric_tokens", "characters": "lyric_vocab_size"},
        optional={
            "lyrics_loss_fraction": "encoder_loss_fraction",
            "alignment_layer": "alignment_layer",
            "alignment_head": "alignment_head",
        },
    )
    found["alphabet"] = alphabet_of(found.pop("characters"))
    # Smaller models carry the defaults of the largest model, whose layer they lack.
    if found.get("alignment_layer", 0) >= num_layers or found.get("alignment_head", 0) >= num_heads:
        del found["alignment_layer"], found["alignment_head"]
    if settings.get("is_encoder_decoder"):
        return found | {"lyrics_scheme": "joint"}
    if not isinstance(settings.get("encoder_config"), dict):
        raise ValueError("its settings lack the encoder_config of the lyrics")
    encoder = _transformer(settings["encoder_config"])
    shared = {"attention_multiplier", "mlp_multiplier"}  # same for the prior and its lyrics encoder
    return (
        found
        | {f"lyrics_{name}": value for name, value in encoder.items() if name not in shared}
        | {"lyrics_scheme": "separate"}
    )
