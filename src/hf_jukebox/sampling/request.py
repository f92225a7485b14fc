"""A checked request to sample, in the units of the sampler: songs, codes and raw samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field

from ..configuration_jukebox import JukeboxPriorConfig
from ..files.text import user_path
from ..hierarchy import Hierarchy
from .avoiding import Avoidance
from .logits import SongKey
from .options import SamplingSettings, check_hop_fraction
from .values import PerLevel, is_list, per_level, per_song, whole_number
from .windows import round_hop

Seeds = torch.Generator | int | Sequence[torch.Generator | int] | None

_MOST_SAMPLED = 2**31  # codes of the finest level, over all songs: days of music, 16 GiB in memory
# Limits far beyond practical use, which bound the values of a request from a file.
MOST_SONGS, MOST_LEVELS, MOST_CODES, _MOST_SAMPLES = 2**16, 16, 2**40, 2**48
_UPSAMPLER_HOP_FRACTION, _TOP_HOP_FRACTION = 0.5, 0.125


@dataclass(frozen=True)
class SongConditioning:
    """Labels and timing of one song, in raw samples, the key of its random numbers, and the name of its prompt."""

    artist: str | None
    genre: str | None
    lyrics: str | None
    total_length: Annotated[int, Field(ge=0, le=_MOST_SAMPLES)]
    offset: Annotated[int, Field(ge=0, le=_MOST_SAMPLES)]
    key: SongKey
    prompt: str | None = None


@dataclass(frozen=True)
class SamplingRequest:
    """A fully resolved run: sampling it twice gives the same codes.

    Args:
        songs: Songs, one per row of the batch.
        top_codes: Length of the piece in top-level codes, prompt included.
        levels: Levels to sample, the highest first.
        hops: Codes from the start of one window to that of the next, per level, finest first.
        settings: Settings per level, finest first.
        max_batch_size: Songs, or in parallel upsampling segments, to sample at a time; None for as many as fit into
            memory.
        upsampling: `"sequential"` or `"parallel"` sampling of the levels below the top.
        avoid: Catalogue to avoid; None for free sampling.
        seed: Seed that gives the same keys, if there is one.
    """

    songs: Annotated[list[SongConditioning], Field(min_length=1, max_length=MOST_SONGS)]
    top_codes: Annotated[int, Field(ge=1, le=MOST_CODES)]
    levels: Annotated[list[int], Field(min_length=1, max_length=MOST_LEVELS)]
    hops: list[Annotated[int, Field(ge=0, le=2**31)]]
    settings: list[SamplingSettings]
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    upsampling: Annotated[str, Field(pattern="^(sequential|parallel)$")] = "sequential"
    avoid: Avoidance | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None


def check_size(hierarchy: Hierarchy, num_songs: int, top_codes: int) -> None:
    """Refuse a run that would fit into no memory.

    Raises:
        ValueError: it is too long, or there are too many songs.
    """
    if num_songs * hierarchy.codes(0, top_codes) > _MOST_SAMPLED:
        seconds = top_codes * hierarchy.top_hop / hierarchy.vqvae.sampling_rate
        most = _MOST_SAMPLED * hierarchy.vqvae.hop_lengths[0] / hierarchy.vqvae.sampling_rate
        raise ValueError(
            f"{num_songs} x {seconds:.0f} s of music are more than the {most:.0f} s that one run can hold; ask for a "
            "smaller `audio_length_in_s` or fewer songs."
        )


def check_upsampling(value: str) -> str:
    """Return `upsampling` if it is one of the two ways to sample the levels below the top."""
    if value not in ("sequential", "parallel"):
        raise ValueError(f"`upsampling` must be 'sequential' or 'parallel', not {value!r}.")
    return value


def moved_avoidance(
    request: SamplingRequest, avoid: str | os.PathLike[str] | None, run_dir: os.PathLike[str]
) -> SamplingRequest:
    """Return the request with its catalogue at another place, where one is given.

    Raises:
        ValueError: the request avoids no catalogue.
    """
    if avoid is None:
        return request
    if request.avoid is None:
        raise ValueError(f"{run_dir} was begun without a catalogue to avoid; leave `avoid` out.")
    return replace(request, avoid=replace(request.avoid, catalogue=os.path.abspath(user_path(avoid))))


def song_keys(generator: Seeds, num_songs: int) -> list[SongKey]:
    """Return the key of each song's random numbers; a list of generators or seeds has one per song.

    Raises:
        ValueError: one is neither a generator nor a seed.
    """

    def seed(source: torch.Generator | int | None) -> int:
        if source is not None and not isinstance(source, torch.Generator):
            source = _generator(source)
        device = "cpu" if source is None else source.device
        return int(torch.randint(2**63 - 1, (1,), generator=source, device=device))

    if isinstance(generator, Sequence):
        sources: list[torch.Generator | int] = per_song("generator", generator, num_songs)
        return [(seed(source), 0) for source in sources]
    shared = seed(generator)
    return [(shared, song) for song in range(num_songs)]


def new_seed() -> int:
    """Return a seed for a request that names none, so that it can be repeated."""
    return int(torch.randint(2**32, (1,), device="cpu"))


def seed_of(generator: Seeds) -> int | None:
    """Return the seed that repeats a request; None for a list, or a generator that has been used before."""
    if isinstance(generator, int):
        return generator
    if not isinstance(generator, torch.Generator):
        return None
    seed = generator.initial_seed() % 2**64
    unused = torch.Generator(generator.device).manual_seed(seed)
    return seed if torch.equal(generator.get_state(), unused.get_state()) else None


def window_hops(hierarchy: Hierarchy, hop_fraction: PerLevel[float] | None) -> list[int]:
    """Return the codes from the start of one window to that of the next, per level; None stands for the default."""
    defaults = [_UPSAMPLER_HOP_FRACTION] * (hierarchy.num_levels - 1) + [_TOP_HOP_FRACTION]
    fractions = per_level("hop_fraction", hop_fraction, hierarchy.num_levels)
    hops = []
    for given, default, prior in zip(fractions, defaults, hierarchy.priors, strict=True):
        check_hop_fraction(given)
        fraction = default if given is None else given
        hops.append(0 if prior is None else round_hop(prior.n_ctx, fraction, prior.upsampling_ratio))
    return hops


def levels_to_sample(hierarchy: Hierarchy, levels: int | Sequence[int] | None) -> list[int]:
    """Return the levels to sample, the highest first; all that have a prior by default."""
    present = [level for level, prior in enumerate(hierarchy.priors) if prior is not None]
    wanted = present if levels is None else list(levels) if is_list(levels) else [levels]  # type: ignore[arg-type]
    wanted = [whole_number("levels", level) for level in wanted]
    for level in wanted:
        if level not in present:
            raise ValueError(f"Level {level} has no prior in this pipeline; `levels` may be {present}.")
    if not wanted:
        raise ValueError("`levels` is empty; name the levels to sample, such as `levels=(2,)`.")
    return sorted(set(wanted), reverse=True)


def top_codes(hierarchy: Hierarchy, audio_length_in_s: float | None, known: int) -> int:
    """Return the length of the piece in top-level codes: by default `known`, or one top window where that is 0."""
    if audio_length_in_s is None:
        return known or hierarchy.top_window // hierarchy.top_hop
    count = hierarchy.samples("audio_length_in_s", audio_length_in_s) // hierarchy.top_hop
    if count == 0:
        shortest = hierarchy.top_hop / hierarchy.vqvae.sampling_rate
        raise ValueError(f"`audio_length_in_s` is {audio_length_in_s}, but the shortest piece takes {shortest:.4f} s.")
    check_size(hierarchy, 1, count)
    return count


def make_songs(
    artists: Sequence[str | None],
    genres: Sequence[str | None],
    lyrics: Sequence[str | None],
    timings: Sequence[tuple[int, int]],
    keys: Sequence[SongKey],
    prompts: Sequence[str | None],
) -> list[SongConditioning]:
    """Return one song per key; the labels, (length, offset) and name of a prompt are repeated for its candidates."""
    candidates = len(keys) // len(timings)
    songs = []
    for row, key in enumerate(keys):
        prompt = row // candidates
        songs.append(
            SongConditioning(artists[prompt], genres[prompt], lyrics[prompt], *timings[prompt], key, prompts[prompt])
        )
    return songs


def song_timing(
    hierarchy: Hierarchy,
    count: int,
    total_length_in_s: float | None,
    offset_in_s: float,
    levels: Sequence[int],
    own_count: int | None = None,
) -> tuple[int, int]:
    """Return the length of a song and the offset of the piece in it, in samples.

    Args:
        count: Top-level codes to sample.
        own_count: Top-level codes to keep, where other songs of the batch are longer.

    Raises:
        ValueError: the piece does not lie within the song, or the timing tables of a prior in `levels` do not cover it.
    """
    offset = hierarchy.samples("offset_in_s", offset_in_s)
    kept = (count if own_count is None else own_count) * hierarchy.top_hop
    configs = _timed_priors(hierarchy, levels)
    if total_length_in_s is not None:
        total_length = hierarchy.samples("total_length_in_s", total_length_in_s)
    else:
        shortest = [-(-config.min_duration * config.sampling_rate // 1) for config in configs]
        total_length = int(max([offset + kept, *shortest]))
    for config in configs:
        _check_timing(config, total_length, offset, count)
    if offset + kept > total_length:
        rate = hierarchy.vqvae.sampling_rate
        raise ValueError(
            f"A piece of {kept / rate:.2f} s at `offset_in_s={offset / rate:g}` ends after the song, whose "
            f"`total_length_in_s` is {total_length / rate:.2f}; ask for a shorter piece, or give the song's length."
        )
    return total_length, offset


def check_song_spans(hierarchy: Hierarchy, request: SamplingRequest) -> None:
    """Refuse songs that the timing tables of the priors to sample with do not cover.

    Raises:
        ValueError: a length or offset does not fit; the message names it.
    """
    for config in _timed_priors(hierarchy, request.levels):
        for total_length, offset in {(song.total_length, song.offset) for song in request.songs}:
            _check_timing(config, total_length, offset, request.top_codes)


def _timed_priors(hierarchy: Hierarchy, levels: Sequence[int]) -> list[JukeboxPriorConfig]:
    priors = [hierarchy.priors[level] for level in levels]
    return [prior for prior in priors if prior is not None and prior.has_timing]


def _check_timing(config: JukeboxPriorConfig, total_length: int, offset: int, count: int) -> None:
    rate, shortest, longest = config.sampling_rate, config.min_duration, config.max_duration
    last_start = max(count - config.n_ctx, 0) * config.hop_length
    if offset + last_start + config.window_length > longest * rate:
        raise ValueError(
            f"The piece would end beyond {longest:g} seconds, the longest song that this model was trained on; ask for "
            "a smaller `audio_length_in_s` or `offset_in_s`."
        )
    if not shortest * rate <= total_length < longest * rate:
        raise ValueError(
            f"`total_length_in_s` is {total_length / rate:.2f}, but this model was trained on songs of at least "
            f"{shortest:g} and less than {longest:g} seconds."
        )


def _generator(seed: Any) -> torch.Generator:
    """Return a generator for a seed."""
    seed = whole_number("generator", seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"A seed as `generator` must be at least 0 and less than 2**63, not {seed}.")
    return torch.Generator().manual_seed(seed)
