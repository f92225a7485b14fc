"""A VQ-VAE and its priors as one system: do they belong together, and which names label them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .tokenization_jukebox import JukeboxTokenizer, LevelVocabulary


@dataclass(frozen=True)
class Hierarchy:
    """The configurations of a VQ-VAE and of its priors, one a level, finest first; None where a prior is missing."""

    vqvae: JukeboxVQVAEConfig
    priors: Sequence[JukeboxPriorConfig | None]

    @classmethod
    def of(cls, vqvae: JukeboxVQVAEConfig, priors: Iterable[JukeboxPriorConfig]) -> Self:
        """Put every prior at its level.

        Raises:
            ValueError: a prior was made for another VQ-VAE, or two are of the same level.
        """
        by_level: dict[int, JukeboxPriorConfig] = {}
        for prior in priors:
            _check_belongs(vqvae, prior)
            if prior.level in by_level:
                raise ValueError(f"Two priors are of level {prior.level}; give one a level, finest first.")
            by_level[prior.level] = prior
        return cls(vqvae, [by_level.get(level) for level in range(vqvae.num_levels)])

    @property
    def num_levels(self) -> int:
        return self.vqvae.num_levels

    @property
    def top_hop(self) -> int:
        """Raw samples a top-level code."""
        return self.vqvae.hop_lengths[-1]

    @property
    def top_window(self) -> int:
        """Raw samples in a window of the highest prior that is there."""
        present = [prior for prior in self.priors if prior is not None]
        if not present:
            raise ValueError("This pipeline has no prior, so it can draw nothing; load at least one.")
        return present[-1].window_length

    def samples(self, name: str, seconds: float) -> int:
        """Seconds as raw samples, to the nearest; `name` is the argument that holds them."""
        try:
            number = float("nan") if isinstance(seconds, bool | str) else float(seconds)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not 0 <= number < float("inf"):
            raise ValueError(f"{name} must be a number of seconds of at least 0, not {seconds!r}.")
        return round(number * self.vqvae.sampling_rate)

    def codes(self, level: int, top_codes: int) -> int:
        """Codes of a level in a piece of `top_codes` top-level codes."""
        return top_codes * (self.top_hop // self.vqvae.hop_lengths[level])

    def vocabularies(self) -> dict[int, LevelVocabulary]:
        """The names and alphabets that the labelled priors carry, by level."""
        return {
            prior.level: LevelVocabulary.from_config(prior)
            for prior in self.priors
            if prior is not None and prior.has_labels and prior.artists is not None
        }


def check_tokenizer(tokenizer: JukeboxTokenizer, hierarchy: Hierarchy) -> None:
    """Refuse a tokenizer whose names are not those that a prior was trained with.

    Raises:
        ValueError: which prior it does not fit.
    """
    carried = hierarchy.vocabularies()
    for prior in hierarchy.priors:
        if prior is None or not prior.has_labels:
            continue
        vocabulary = tokenizer.vocabularies.get(prior.level)
        if vocabulary is None or vocabulary.label_length != prior.label_length:
            raise ValueError(f"The tokenizer makes no label rows that fit the prior of level {prior.level}.")
        if vocabulary != carried.get(prior.level, vocabulary):
            raise ValueError(
                f"The tokenizer's names for level {prior.level} are not those that its prior was trained with; leave "
                "the tokenizer out, and one is made from the priors."
            )


def fitting_tokenizer(tokenizer: JukeboxTokenizer | None, hierarchy: Hierarchy) -> JukeboxTokenizer | None:
    """The tokenizer that goes with the priors: the one there is, with the names that the priors bring."""
    carried = hierarchy.vocabularies()
    if tokenizer is None:
        return JukeboxTokenizer(carried, sampling_rate=hierarchy.vqvae.sampling_rate) if carried else None
    if all(tokenizer.vocabularies.get(level) == vocabulary for level, vocabulary in carried.items()):
        return tokenizer
    return JukeboxTokenizer(tokenizer.vocabularies | carried, sampling_rate=hierarchy.vqvae.sampling_rate)


def _check_belongs(vqvae: JukeboxVQVAEConfig, prior: JukeboxPriorConfig) -> None:
    level, hops = prior.level, vqvae.hop_lengths
    if not 0 <= level < vqvae.num_levels:
        raise ValueError(f"A prior is of level {level}, but the VQ-VAE has levels 0 to {vqvae.num_levels - 1}.")
    wanted = {
        "hop_length": hops[level],
        "sampling_rate": vqvae.sampling_rate,
        "codebook_size": vqvae.codebook_size,
        "upsampling_ratio": 1 if level + 1 == vqvae.num_levels else hops[level + 1] // hops[level],
    }
    for name, value in wanted.items():
        if getattr(prior, name) != value:
            raise ValueError(
                f"The prior of level {level} has {name} {getattr(prior, name)}, but the VQ-VAE needs {value} there; "
                "use a prior that was trained on this VQ-VAE."
            )
