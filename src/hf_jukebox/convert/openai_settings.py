"""Conversion of the settings of OpenAI's code to our configurations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import read_json_object
from ..hierarchy import Hierarchy
from ..tokenization_jukebox import RELEASED_MODELS
from .settings import Settings, alphabet_of, errors_in_settings, rename_settings


class SettingsSource:
    """Source of the settings of checkpoints: a released model, a JSON file, or the checkpoints themselves.

    Args:
        preset: Name of a released model.
        hparams: JSON file; see [`convert_openai`].

    Raises:
        OSError: the JSON file cannot be read.
        ValueError: there is no such model, the file is not JSON, or both were given.
    """

    def __init__(self, preset: str | None = None, hparams: str | os.PathLike[str] | None = None) -> None:
        if preset is not None and hparams is not None:
            raise ValueError("Give `preset` or `hparams`, not both.")
        if preset is not None and preset not in RELEASED_MODELS:
            raise ValueError(f"There is no released model {preset!r}; choose one of {', '.join(RELEASED_MODELS)}.")
        self._preset = preset
        self._table = {} if hparams is None else read_json_object(Path(hparams))
        priors = self._table.get("priors")
        self._named = self._table | (priors if isinstance(priors, dict) else {})

    def vqvae(self, path: Path, checkpoint: Settings) -> JukeboxVQVAEConfig:
        """Return the configuration of the VQ-VAE whose `checkpoint` was read from `path`."""
        if self._preset is not None:
            return JukeboxVQVAEConfig.from_preset("5b")
        with errors_in_settings(path):
            return vqvae_config(self._settings(path, checkpoint, mark="downs_t", other_name="vqvae"))

    def prior(self, path: Path, checkpoint: Settings, level: int, vqvae: JukeboxVQVAEConfig) -> JukeboxPriorConfig:
        """Return the configuration of the prior that was given for a `level`, without its tables."""
        with errors_in_settings(path):
            if self._preset is not None:
                settings = checkpoint.get("hps") or {}
            else:
                settings = self._settings(path, checkpoint, mark="n_ctx")
            if settings.get("level", level) != level:
                raise ValueError(f"a prior of level {settings['level']} in place of level {level}; finest come first")
            if self._preset is not None:
                names = ("upsampler_level_0", "upsampler_level_1", f"prior_{self._preset}")
                return JukeboxPriorConfig.from_preset(names[level])
            return prior_config(settings, vqvae)

    def _settings(self, path: Path, checkpoint: Settings, mark: str, other_name: str = "") -> Settings:
        """Return the settings of a model; `mark` is one that every model of its kind has."""
        settings = self._named.get(path.name.split(".")[0]) or self._named.get(other_name)
        if settings is None:
            settings = self._table if mark in self._table else checkpoint.get("hps")
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"it holds no settings; give `preset` ({', '.join(RELEASED_MODELS)}) if it is a released model, or "
                "`hparams`, a JSON file with its settings"
            )
        return settings


def vqvae_config(settings: Settings) -> JukeboxVQVAEConfig:
    """Convert the settings of a VQ-VAE.

    Raises:
        ValueError: a setting is missing, or does not fit the others.
    """
    found = rename_settings(
        settings,
        required={
            "sampling_rate": "sr",
            "downs_t": "downs_t",
            "strides_t": "strides_t",
            "codebook_size": "l_bins",
            "codebook_dim": "emb_width",
            "width": "width",
            "depth": "depth",
            "dilation_growth_rate": "dilation_growth_rate",
        },
        optional={
            "multipliers": "hvqvae_multipliers",
            "hidden_multiplier": "m_conv",
            "dilation_cycle": "dilation_cycle",
            "ema_decay": "l_mu",
            "commit_weight": "commit",
            "spectral_weight": "spectral",
            "multispectral_weight": "multispectral",
            "reconstruction_loss": "loss_fn",
            "l1_weight": "lmix_l1",
            "l2_weight": "lmix_l2",
            "linf_weight": "lmix_linf",
            "linf_top_k": "linf_k",
        },
    )
    found.setdefault("multipliers", [1] * len(found["downs_t"]))
    return JukeboxVQVAEConfig(**found)


def prior_config(settings: Settings, vqvae: JukeboxVQVAEConfig) -> JukeboxPriorConfig:
    """Convert the settings of a prior over the codes of `vqvae`, without its tables of artists and genres.

    Raises:
        ValueError: a setting is missing, or does not fit the others.
    """
    found = rename_settings(
        settings,
        required={
            "level": "level",
            "n_ctx": "n_ctx",
            "hidden_size": "prior_width",
            "num_hidden_layers": "prior_depth",
            "num_attention_heads": "heads",
            "attention_order": "attn_order",
            "attention_blocks": "blocks",
        },
        optional={
            "init_scale": "init_scale",
            "attention_multiplier": "m_attn",
            "mlp_multiplier": "m_mlp",
            "merged_decoder": "merged_decoder",
            "res_scale": "res_scale",
        },
    )
    found |= Hierarchy.prior_settings(vqvae, found["level"])
    is_top = not found["upsampling_strides"]
    if not is_top:
        found |= _conditioner(settings)
    if settings.get("labels", True):
        found |= _labels(settings, is_top)
    if settings.get("use_tokens", False):
        found |= _lyrics(settings)
    return JukeboxPriorConfig(**found)


def _conditioner(settings: Settings) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={
            "conditioner_width": "cond_width",
            "conditioner_depth": "cond_depth",
            "conditioner_dilation_growth_rate": "cond_dilation_growth_rate",
        },
        optional={"conditioner_res_scale": "cond_res_scale"},
    )
    return found | {"conditioner_dilation_cycle": settings.get("cond_dilation_cycle")}


def _labels(settings: Settings, is_top: bool) -> dict[str, Any]:
    timing = {"num_time_bins": "t_bins", "min_duration": "min_duration", "max_duration": "max_duration"}
    found = rename_settings(
        settings,
        required={"bins": "y_bins", "genre_words": "max_bow_genre_size"} | (timing if is_top else {}),
        optional={} if is_top else timing,
    )
    found["num_genres"], found["num_artists"] = found.pop("bins")
    return found | {"label_rules": "v3" if settings.get("labels_v3", False) else "v2"}


def _lyrics(settings: Settings) -> dict[str, Any]:
    found = rename_settings(
        settings,
        required={"n_lyrics": "n_tokens", "lyrics_loss_fraction": "prime_loss_fraction", "characters": "n_vocab"},
        optional={"alignment_layer": "alignment_layer", "alignment_head": "alignment_head"},
    )
    found["alphabet"] = alphabet_of(found.pop("characters"))
    if settings.get("single_enc_dec", False):
        return found | {"lyrics_scheme": "joint"}
    encoder = rename_settings(
        settings,
        required={
            "lyrics_hidden_size": "prime_width",
            "lyrics_num_hidden_layers": "prime_depth",
            "lyrics_num_attention_heads": "prime_heads",
            "lyrics_attention_order": "prime_attn_order",
            "lyrics_attention_blocks": "prime_blocks",
        },
        optional={"lyrics_init_scale": "prime_init_scale"},
    )
    return found | encoder | {"lyrics_scheme": "separate"}
