"""Likelihood of songs under a pipeline's priors, in all and by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..configuration_jukebox import JukeboxPriorConfig
from ..labels.vocabulary import UNKNOWN_ID, LevelVocabulary, normalize_name
from ..modeling_prior import JukeboxPrior
from ..pipeline_jukebox import JukeboxPipeline
from ..sampling.single_prior import score_codes
from ..sampling.window_labels import WindowLabels
from .excerpts import Excerpt
from .set_metrics import unigram_entropy

PLACES = 16  # parts of a window over which bits per code are shown
_WINDOWS = 4  # scored per excerpt and level


def bits_per_code(pipe: JukeboxPipeline, excerpts: Sequence[Excerpt]) -> list[dict[str, Any]]:
    """Return the bits per code of each prior, in all and by place in the window, beside the unigram entropy."""
    results = []
    for prior in present_priors(pipe):
        level, n_ctx = prior.config.level, prior.config.n_ctx
        rows = np.concatenate([_window_bits(pipe, prior, excerpt) for excerpt in excerpts])  # [windows, n_ctx]
        codes = np.concatenate([excerpt.codes[level].numpy() for excerpt in excerpts])
        places = [float(part.mean()) for part in np.array_split(rows, min(PLACES, n_ctx), axis=1)]
        mean, entropy = float(rows.mean()), unigram_entropy(codes)
        per_second = prior.config.codes_per_second
        results.append(
            {
                "level": level,
                "bits_per_code": round(mean, 4),
                "bits_per_second": round(mean * per_second, 1),
                "unigram_entropy": round(entropy, 4),
                "by_place": [round(place, 4) for place in places],
                "windows": len(rows),
            }
        )
    return results


def label_accuracy(
    pipe: JukeboxPipeline, excerpts: Sequence[Excerpt], num_names: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Return how often the true artist or genre gives the first window of an excerpt its highest likelihood.

    The true name is compared with others of the top prior's table at random; the other label is unknown. Names that are
    equally likely share the credit.

    Args:
        num_names: Names to compare, the true one included; each of another row of the table.
        seed: Seed of the choice.
    """
    prior = present_priors(pipe)[-1]
    config, random, results = prior.config, np.random.default_rng(seed), {}
    if not config.has_labels or pipe.tokenizer is None:
        return {}
    vocabulary = LevelVocabulary.from_config(config)
    for axis, table in (("artist", vocabulary.artists), ("genre", vocabulary.genres)):
        names = {index: name for name, index in reversed(table.items()) if index != UNKNOWN_ID}  # the first per row
        credits, chances = [], []
        for excerpt in excerpts:
            name = getattr(excerpt.song, axis)
            own = _ids(vocabulary, axis, name)
            if not all(own):
                continue
            others = [other for index, other in names.items() if index not in own]
            rivals = random.permutation(others)[: num_names - 1].tolist()
            bits = [_window_bits(pipe, prior, excerpt, {axis: each}, 1).mean() for each in [name, *rivals]]
            credits.append((bits[0] == min(bits)) / bits.count(min(bits)))
            chances.append(1 / len(bits))
        if credits and max(chances) < 1:
            accuracy, chance = (round(float(np.mean(values)), 4) for values in (credits, chances))
            results[axis] = {"accuracy": accuracy, "chance": chance, "pieces": len(credits)}
    return results


def present_priors(pipe: JukeboxPipeline) -> list[JukeboxPrior]:
    """Return the priors that a pipeline has, finest level first.

    Raises:
        ValueError: there are none.
    """
    present = [prior for prior in pipe.priors if prior is not None]
    if not present:
        raise ValueError("This pipeline has no prior to evaluate; load one that has.")
    return present


def _window_bits(
    pipe: JukeboxPipeline,
    prior: JukeboxPrior,
    excerpt: Excerpt,
    labels: dict[str, str] | None = None,
    most: int = _WINDOWS,
) -> np.ndarray:
    """Return the bits of each code in windows of an excerpt, `[windows, n_ctx]`, with its own labels by default."""
    config, codes = prior.config, excerpt.codes[prior.config.level]
    pipe.load_part(prior)
    length = min(config.n_ctx, len(codes))
    ratio = config.upsampling_ratio
    last = (len(codes) - length) // ratio
    if labels is None:
        labels = _known_labels(config, excerpt) if config.has_labels else {}
    rows = []
    for start in np.unique(np.linspace(0, last, min(most, last + 1)).round().astype(int)) * ratio:
        window, row = codes[start : start + length], None
        if config.has_labels:
            assert pipe.tokenizer is not None
            row = WindowLabels(pipe.tokenizer, config)(
                total_length=excerpt.total_length,
                offset=excerpt.offset + int(start) * config.hop_length,
                **labels,
            )
        upper = None
        if config.is_upsampler:
            upper = excerpt.codes[config.level + 1][start // ratio : -(-(start + length) // ratio)][None]
        rows.append(score_codes(prior, window[None], upper_codes=upper, labels=row)[0].float().cpu().numpy())
    return np.stack(rows)


def _known_labels(config: JukeboxPriorConfig, excerpt: Excerpt) -> dict[str, str]:
    """Return an excerpt's own artist and genre, without those of which the prior knows no part."""
    vocabulary = LevelVocabulary.from_config(config)
    own = {"artist": excerpt.song.artist, "genre": excerpt.song.genre}
    return {axis: name for axis, name in own.items() if name is not None and any(_ids(vocabulary, axis, name))}


def _ids(vocabulary: LevelVocabulary, axis: str, name: str | None) -> list[int]:
    """Return the id of an artist, or of each word of a genre that the prior uses; 0 for those that it does not know."""
    if axis == "artist":
        return [vocabulary.artist_id(name or "") or UNKNOWN_ID]
    words = normalize_name(name or "", "v2").split("_") if vocabulary.rules == "v2" else [name or ""]
    return [vocabulary.genre_id(word) or UNKNOWN_ID for word in words[: vocabulary.genre_words]]
