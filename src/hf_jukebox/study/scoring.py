"""Likelihoods of recordings: bits per code over time, and labels compared by the bits that they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..labels.vocabulary import UNKNOWN_ID, LevelVocabulary
from .embedding import stretch_ends

_MOST_NAMES = 64  # labels that are compared without being named: each costs a pass over the recording


@dataclass(frozen=True)
class LevelScore:
    """Likelihood of the codes of one level, given the codes before them in their windows.

    Attributes:
        bits: Surprise of each code, `-log2 p`, float32 `[T]`.
        ranks: Number of codes that were likelier, int32 `[T]`.
        entropy: Bits that each code was expected to cost, float32 `[T]`.
        codes_per_second: Rate of the codes; code t starts at `t / codes_per_second`.
    """

    bits: np.ndarray
    ranks: np.ndarray
    entropy: np.ndarray
    codes_per_second: float

    @property
    def bits_per_code(self) -> float:
        """Mean surprise of a code, the loss of a prior."""
        return float(self.bits.mean(dtype=np.float64))

    @property
    def total_bits(self) -> float:
        """Bits of all codes together."""
        return float(self.bits.sum(dtype=np.float64))

    def curve(self, seconds: float = 1.0) -> np.ndarray:
        """Return the mean bits per code in each stretch of `seconds`, float64; the last one may be shorter."""
        return stretch_sums(self.bits, seconds, self.codes_per_second, mean=True)


@dataclass(frozen=True)
class JukeboxScore:
    """Likelihood of one recording.

    Attributes:
        name: Name of the recording.
        duration: Length in seconds that was scored: whole codes of the top level.
        levels: Score of each level.
    """

    name: str
    duration: float
    levels: Mapping[int, LevelScore]


@dataclass(frozen=True)
class LabelPosterior:
    """Artists or genres of one recording, compared by its likelihood under each; all were equally likely before.

    Attributes:
        name: Name of the recording.
        kind: `"artist"` or `"genre"`.
        labels: Names that were compared.
        bits: Surprise of each code under each label, float32 `[labels, T]`. With several levels, `T` counts the codes
            of the highest of them, and the bits of the others are added to the code that they belong to.
        codes_per_second: Rate of the codes.
    """

    name: str
    kind: str
    labels: Sequence[str]
    bits: np.ndarray
    codes_per_second: float

    @property
    def whole(self) -> np.ndarray:
        """Posterior given the whole recording, float64 `[labels]`."""
        return _posterior(self.bits.sum(1, dtype=np.float64)[None])[0]

    @property
    def best(self) -> str:
        """Likeliest label of the whole recording."""
        return self.labels[int(self.whole.argmax())]

    def over_time(self, seconds: float = 1.0) -> np.ndarray:
        """Return the posterior given each stretch of `seconds` alone, float64 `[stretches, labels]`."""
        sums = [stretch_sums(row, seconds, self.codes_per_second) for row in self.bits]
        return _posterior(np.stack(sums, axis=1))

    def so_far(self, seconds: float = 1.0) -> np.ndarray:
        """Return the posterior given everything up to the end of each stretch, float64 `[stretches, labels]`."""
        sums = [stretch_sums(row, seconds, self.codes_per_second) for row in self.bits]
        return _posterior(np.stack(sums, axis=1).cumsum(0))


def stretch_sums(values: np.ndarray, seconds: float, codes_per_second: float, mean: bool = False) -> np.ndarray:
    """Return the sum, or mean, of the values of the codes that begin in each stretch of `seconds`.

    Raises:
        ValueError: a stretch is shorter than a code.
    """
    if not 1 / codes_per_second <= seconds < math.inf:
        raise ValueError(f"seconds is {seconds!r}, but one code takes {1 / codes_per_second:.4f} s; use more.")
    ends = stretch_ends(len(values), seconds * codes_per_second)
    starts = [0, *ends[:-1]]
    sums = np.add.reduceat(values.astype(np.float64), starts)
    return sums / np.subtract(ends, starts) if mean else sums


def labels_to_compare(vocabularies: Mapping[int, LevelVocabulary], kind: str, names: Sequence[str] | None) -> list[str]:
    """Return the labels to compare: those given, or all that the priors were trained with.

    Args:
        vocabularies: Names of the priors, by level.

    Raises:
        ValueError: the kind is neither artist nor genre, a prior has no such labels or lacks a name, or there are too
            many or too few to compare.
    """
    if kind not in ("artist", "genre"):
        raise ValueError(f"compare must be 'artist' or 'genre', not {kind!r}.")
    for level, vocabulary in vocabularies.items():
        ids = vocabulary.artist_ids if kind == "artist" else vocabulary.genre_ids
        if names is None:
            names = sorted(name for name, index in ids.items() if index != UNKNOWN_ID)
            if len(names) > _MOST_NAMES:
                raise ValueError(
                    f"This model knows {len(names)} {kind}s, and each costs a pass over the recording; name those to "
                    "compare."
                )
        for name in names:
            if not _is_known(vocabulary, kind, name):
                raise ValueError(
                    f"The prior of level {level} was not trained with the {kind} {name!r}; check its name."
                )
    if not vocabularies or names is None or len(set(names)) < 2:
        raise ValueError(f"Comparing needs at least two {kind}s that the model was trained with.")
    return list(dict.fromkeys(names))


def _is_known(vocabulary: LevelVocabulary, kind: str, name: str) -> bool:
    if kind == "artist":
        return bool(vocabulary.artist_id(name))
    words = name.split() if vocabulary.rules == "v2" else [name]
    return all(vocabulary.genre_id(word) for word in words)


def _posterior(bits: np.ndarray) -> np.ndarray:
    """Return the posterior of labels that were equally likely before, from the bits `[..., labels]` that each costs."""
    likelihood = np.exp2(bits.min(-1, keepdims=True) - bits)
    return likelihood / likelihood.sum(-1, keepdims=True)
