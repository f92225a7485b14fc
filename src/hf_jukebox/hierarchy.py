"""Consistency of a VQ-VAE with its priors, and the names that label them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .tokenization_jukebox import JukeboxTokenizer, LevelVocabulary

if TYPE_CHECKING:
    from .modeling_vqvae import JukeboxVQVAE

# Settings that the codes depend on. Losses and decoders may change without making codes stale.
_CODE_SETTINGS = (
    "sampling_rate",
    "downs_t",
    "strides_t",
    "codebook_size",
    "codebook_dim",
    "width",
    "depth",
    "multipliers",
    "hidden_multiplier",
    "dilation_growth_rate",
    "dilation_cycle",
    "res_scale",
)


@dataclass(frozen=True)
class Hierarchy:
    """Configurations of a VQ-VAE and of its priors, one per level, finest first; None where a prior is missing."""

    vqvae: JukeboxVQVAEConfig
    priors: Sequence[JukeboxPriorConfig | None]

    @classmethod
    def of(cls, vqvae: JukeboxVQVAEConfig, priors: Iterable[JukeboxPriorConfig]) -> Self:
        """Place every prior at its level.

        Raises:
            ValueError: a prior was trained on another VQ-VAE, or two have the same level.
        """
        by_level: dict[int, JukeboxPriorConfig] = {}
        for prior in priors:
            _check_belongs(vqvae, prior)
            if prior.level in by_level:
                raise ValueError(f"Two priors are of level {prior.level}; give one per level, finest first.")
            by_level[prior.level] = prior
        return cls(vqvae, [by_level.get(level) for level in range(vqvae.num_levels)])

    @staticmethod
    def prior_settings(vqvae: JukeboxVQVAEConfig, level: int) -> dict[str, Any]:
        """Return the settings of [`JukeboxPriorConfig`] that a prior of `level` takes from its VQ-VAE.

        Raises:
            ValueError: the VQ-VAE has no such level.
        """
        if not 0 <= level < vqvae.num_levels:
            raise ValueError(f"There is no level {level}: the VQ-VAE has levels 0 to {vqvae.num_levels - 1}.")
        upper = level + 1
        strides = [vqvae.strides_t[upper]] * vqvae.downs_t[upper] if upper < vqvae.num_levels else []
        return {
            "level": level,
            "sampling_rate": vqvae.sampling_rate,
            "hop_length": vqvae.hop_lengths[level],
            "codebook_size": vqvae.codebook_size,
            "upsampling_strides": strides,
        }

    @property
    def num_levels(self) -> int:
        return self.vqvae.num_levels

    @property
    def top_hop(self) -> int:
        """Raw samples per top-level code."""
        return self.vqvae.hop_lengths[-1]

    @property
    def top_window(self) -> int:
        """Raw samples in a window of the highest prior present."""
        present = [prior for prior in self.priors if prior is not None]
        if not present:
            raise ValueError("This pipeline has no prior to sample from; load at least one.")
        return present[-1].window_length

    def samples(self, name: str, seconds: float) -> int:
        """Round seconds to raw samples; errors name the argument `name`."""
        try:
            number = float("nan") if isinstance(seconds, bool | str) else float(seconds)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not 0 <= number < float("inf"):
            raise ValueError(f"{name} must be a number of seconds of at least 0, not {seconds!r}.")
        return round(number * self.vqvae.sampling_rate)

    def codes(self, level: int, top_codes: int) -> int:
        """Return the number of codes of a level in a piece of `top_codes` top-level codes."""
        return top_codes * (self.top_hop // self.vqvae.hop_lengths[level])

    def vocabularies(self) -> dict[int, LevelVocabulary]:
        """Return the names and alphabets that the labelled priors carry, by level."""
        return {
            prior.level: LevelVocabulary.from_config(prior)
            for prior in self.priors
            if prior is not None and prior.has_labels and prior.artists is not None
        }


def check_fingerprints(
    priors: Iterable[JukeboxPriorConfig],
    fingerprint: str,
    to_insist: str = "set its config.vqvae_fingerprint to None first",
) -> None:
    """Check that priors were trained on the codes of this VQ-VAE; those that do not say so are accepted.

    Args:
        priors: Configs of the priors.
        fingerprint: `code_fingerprint` of the VQ-VAE.
        to_insist: How to use a prior anyway, for the message.

    Raises:
        ValueError: a prior was trained on other codes.
    """
    for prior in priors:
        if prior.vqvae_fingerprint not in (None, fingerprint):
            raise ValueError(
                f"The prior of level {prior.level} was trained on the codes of another VQ-VAE, with other encoders or "
                f"codebooks; use it with that VQ-VAE, or {to_insist} if you know that the codes mean the same."
            )


def code_fingerprint(vqvae: JukeboxVQVAEConfig, tensors: Mapping[str, torch.Tensor]) -> str:
    """Hash everything that the codes of a VQ-VAE depend on: encoders, codebooks and the settings that shape them.

    Args:
        vqvae: Config of the VQ-VAE.
        tensors: Its state dict, of which decoders and training state are ignored.

    Returns:
        64 hexadecimal digits, the same for every precision in which the weights are exact.
    """
    settings = {name: getattr(vqvae, name) for name in _CODE_SETTINGS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(filter(shapes_codes, tensors)):
        digest.update(name.encode())
        digest.update(tensors[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def encoder_fingerprint(vqvae: JukeboxVQVAE) -> str:
    """Hash everything that the codes of a VQ-VAE depend on; see `code_fingerprint`."""
    return code_fingerprint(vqvae.config, vqvae.state_dict())


def shapes_codes(name: str) -> bool:
    """Return True for the tensors of a VQ-VAE on which its codes depend."""
    return name.startswith("encoders.") or name.endswith(".codebook")


def check_tokenizer(tokenizer: JukeboxTokenizer, hierarchy: Hierarchy) -> None:
    """Check that the tokenizer's names are those that the priors were trained with.

    Raises:
        ValueError: they are not those of some prior.
    """
    carried = hierarchy.vocabularies()
    for prior in hierarchy.priors:
        if prior is None or not prior.has_labels:
            continue
        vocabulary = tokenizer.vocabularies.get(prior.level)
        if vocabulary is None or vocabulary.label_length != prior.label_length:
            raise ValueError(f"The tokenizer's label rows do not fit the prior of level {prior.level}.")
        if vocabulary != carried.get(prior.level, vocabulary):
            raise ValueError(
                f"The tokenizer's names for level {prior.level} are not those that its prior was trained with; leave "
                "the tokenizer out to make one from the priors."
            )


def fitting_tokenizer(tokenizer: JukeboxTokenizer | None, hierarchy: Hierarchy) -> JukeboxTokenizer | None:
    """Return the tokenizer with the names that the priors carry; if it is None, one of these names alone."""
    carried = hierarchy.vocabularies()
    if tokenizer is None:
        return JukeboxTokenizer(carried, sampling_rate=hierarchy.vqvae.sampling_rate) if carried else None
    if all(tokenizer.vocabularies.get(level) == vocabulary for level, vocabulary in carried.items()):
        return tokenizer
    return JukeboxTokenizer(tokenizer.vocabularies | carried, sampling_rate=hierarchy.vqvae.sampling_rate)


def _check_belongs(vqvae: JukeboxVQVAEConfig, prior: JukeboxPriorConfig) -> None:
    level, expected = prior.level, Hierarchy.prior_settings(vqvae, prior.level)
    expected["upsampling_ratio"] = math.prod(expected.pop("upsampling_strides"))
    for name, value in expected.items():
        if getattr(prior, name) != value:
            raise ValueError(
                f"The prior of level {level} has {name} {getattr(prior, name)}, but the VQ-VAE needs {value} there; "
                "use a prior that was trained on this VQ-VAE."
            )
