"""Consistency of a VQ-VAE with its priors, and the names that label them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .tokenization_jukebox import JukeboxTokenizer, LevelVocabulary


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
