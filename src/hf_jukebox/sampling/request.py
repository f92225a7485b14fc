"""What a caller asks for, checked, and in the sampler's own units: songs, codes and samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field

from ..configuration_jukebox import JukeboxPriorConfig
from ..hierarchy import Hierarchy
from .logits import SamplingSettings, SongKey
from .values import PerLevel, is_list, number, per_level, per_song, whole_number
from .windows import round_hop

Seeds = torch.Generator | int | Sequence[torch.Generator | int] | None

DEFAULT_TEMPERATURE = 0.99
_MOST_SAMPLED = 2**31  # codes of the finest level, all songs together: days of music, and 16 GiB in memory
# Far beyond what anybody samples; they bound what a request from a file may ask for.
MOST_SONGS, MOST_LEVELS, MOST_CODES, _MOST_SAMPLES = 2**16, 16, 2**40, 2**48
_UPSAMPLER_HOP_FRACTION, _TOP_HOP_FRACTION = 0.5, 0.125


@dataclass(frozen=True)
class SongConditioning:
    """Labels of one song, lengths in raw samples, where its random numbers come from, and its prompt's name."""

    artist: str | None
    genre: str | None
    lyrics: str | None
    total_length: Annotated[int, Field(ge=0, le=_MOST_SAMPLES)]
    offset: Annotated[int, Field(ge=0, le=_MOST_SAMPLES)]
    key: SongKey
    prompt: str | None = None


@dataclass(frozen=True)
class SamplingRequest:
    """A run, fully decided: drawing it twice gives the same codes.

    Args:
        songs: One a row of the batch.
        top_codes: Length of the piece, prompt included.
        levels: Which levels to draw, the highest first.
        hops: Codes from one window to the next, one entry a level, finest first.
        settings: How each level is drawn, finest first.
        max_batch_size: Songs, or in parallel upsampling segments, drawn at a time; None for as many as fit into memory.
        upsampling: `"sequential"` or `"parallel"`, how the levels under the top are drawn.
    """

    songs: Annotated[list[SongConditioning], Field(min_length=1, max_length=MOST_SONGS)]
    top_codes: Annotated[int, Field(ge=1, le=MOST_CODES)]
    levels: Annotated[list[int], Field(min_length=1, max_length=MOST_LEVELS)]
    hops: list[Annotated[int, Field(ge=0, le=2**31)]]
    settings: list[SamplingSettings]
    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    upsampling: Annotated[str, Field(pattern="^(sequential|parallel)$")] = "sequential"


def check_size(hierarchy: Hierarchy, num_songs: int, top_codes: int) -> None:
    """Refuse what no memory holds.

    Raises:
        ValueError: it is too long, or there are too many songs.
    """
    if num_songs * hierarchy.codes(0, top_codes) > _MOST_SAMPLED:
        seconds = top_codes * hierarchy.top_hop / hierarchy.vqvae.sampling_rate
        most = _MOST_SAMPLED * hierarchy.vqvae.hop_lengths[0] / hierarchy.vqvae.sampling_rate
        raise ValueError(
            f"{num_songs} x {seconds:.0f} s of music are more than the {most:.0f} s that one run can hold; ask for a "
            "smaller audio_length_in_s or fewer songs."
        )


def check_upsampling(value: str) -> str:
    """The name of a way to draw the levels under the top."""
    if value not in ("sequential", "parallel"):
        raise ValueError(f"upsampling must be 'sequential' or 'parallel', not {value!r}.")
    return value


def song_keys(generator: Seeds, num_songs: int) -> list[SongKey]:
    """Where each song's random numbers come from; a list of generators or seeds has one a song.

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


def sampling_settings(
    temperature: PerLevel[float], top_k: PerLevel[int], top_p: PerLevel[float], num_levels: int
) -> list[SamplingSettings]:
    """How each level is drawn, finest first."""
    columns = (
        per_level("temperature", temperature, num_levels),
        per_level("top_k", top_k, num_levels),
        per_level("top_p", top_p, num_levels),
    )
    return [SamplingSettings(*values) for values in zip(*columns, strict=True)]


def window_hops(hierarchy: Hierarchy, hop_fraction: PerLevel[float] | None) -> list[int]:
    """Codes from one window to the next at every level."""
    if hop_fraction is None:
        hop_fraction = [_UPSAMPLER_HOP_FRACTION] * (hierarchy.num_levels - 1) + [_TOP_HOP_FRACTION]
    hops = []
    for fraction, prior in zip(
        per_level("hop_fraction", hop_fraction, hierarchy.num_levels), hierarchy.priors, strict=True
    ):
        if not 0 < number("hop_fraction", fraction) <= 1:
            raise ValueError(f"hop_fraction must be above 0 and at most 1, not {fraction}.")
        hops.append(0 if prior is None else round_hop(prior.n_ctx, fraction, prior.upsampling_ratio))
    return hops


def levels_to_sample(hierarchy: Hierarchy, levels: int | Sequence[int] | None) -> list[int]:
    """Levels, the highest first; all that have a prior by default."""
    present = [level for level, prior in enumerate(hierarchy.priors) if prior is not None]
    wanted = present if levels is None else list(levels) if is_list(levels) else [levels]  # type: ignore[arg-type]
    wanted = [whole_number("levels", level) for level in wanted]
    for level in wanted:
        if level not in present:
            raise ValueError(f"Level {level} has no prior in this pipeline; levels may be {present}.")
    if not wanted:
        raise ValueError("levels is empty; name the levels to draw, such as levels=(2,).")
    return sorted(set(wanted), reverse=True)


def top_codes(hierarchy: Hierarchy, audio_length_in_s: float | None, known: int) -> int:
    """Length of the piece; by default that of the `known` top-level codes, or one top window where there are none."""
    if audio_length_in_s is None:
        return known or hierarchy.top_window // hierarchy.top_hop
    count = hierarchy.samples("audio_length_in_s", audio_length_in_s) // hierarchy.top_hop
    if count == 0:
        shortest = hierarchy.top_hop / hierarchy.vqvae.sampling_rate
        raise ValueError(f"audio_length_in_s is {audio_length_in_s}, but the shortest piece takes {shortest:.4f} s.")
    check_size(hierarchy, 1, count)
    return count


def make_songs(
    artists: Sequence[str | None],
    genres: Sequence[str | None],
    lyrics: Sequence[str | None],
    spans: Sequence[tuple[int, int]],
    keys: Sequence[SongKey],
    prompts: Sequence[str | None],
) -> list[SongConditioning]:
    """One song a key: each prompt's labels, (length, offset) and name as many times as there are candidates of it."""
    candidates = len(keys) // len(spans)
    songs = []
    for row, key in enumerate(keys):
        prompt = row // candidates
        songs.append(
            SongConditioning(artists[prompt], genres[prompt], lyrics[prompt], *spans[prompt], key, prompts[prompt])
        )
    return songs


def song_span(
    hierarchy: Hierarchy,
    count: int,
    total_length_in_s: float | None,
    offset_in_s: float,
    levels: Sequence[int],
    own_count: int | None = None,
) -> tuple[int, int]:
    """The song's length and the piece's place in it, in samples, checked against the models' timing tables.

    Args:
        count: Top-level codes that are drawn.
        own_count: Those that are kept, where the others of a batch are longer.

    Raises:
        ValueError: the piece does not lie within the song, or the timing tables of a prior in `levels` do not cover it.
    """
    offset = hierarchy.samples("offset_in_s", offset_in_s)
    kept = (count if own_count is None else own_count) * hierarchy.top_hop
    timed = [hierarchy.priors[level] for level in levels]
    configs = [config for config in timed if config is not None and config.has_timing]
    if total_length_in_s is not None:
        total_length = hierarchy.samples("total_length_in_s", total_length_in_s)
    else:
        shortest = [-(-config.min_duration * config.sampling_rate // 1) for config in configs]
        total_length = int(max([offset + count * hierarchy.top_hop, *shortest]))
    for config in configs:
        _check_timing(config, total_length, offset, count)
    if offset + kept > total_length:
        rate = hierarchy.vqvae.sampling_rate
        raise ValueError(
            f"A piece of {kept / rate:.2f} s at offset_in_s={offset / rate:g} ends after the song, whose "
            f"total_length_in_s is {total_length / rate:.2f}; ask for a shorter piece, or give the whole song's length."
        )
    return total_length, offset


def check_song_spans(hierarchy: Hierarchy, request: SamplingRequest) -> None:
    """Refuse songs that the timing tables of the priors to sample with do not cover.

    Raises:
        ValueError: which length or offset does not fit.
    """
    timed = [hierarchy.priors[level] for level in request.levels]
    for config in timed:
        for total_length, offset in {(song.total_length, song.offset) for song in request.songs}:
            if config is not None and config.has_timing:
                _check_timing(config, total_length, offset, request.top_codes)


def _check_timing(config: JukeboxPriorConfig, total_length: int, offset: int, count: int) -> None:
    rate, shortest, longest = config.sampling_rate, config.min_duration, config.max_duration
    last_start = max(count - config.n_ctx, 0) * config.hop_length
    if offset + last_start + config.window_length > longest * rate:
        raise ValueError(
            f"The piece would end beyond {longest:g} seconds, the longest song that this model knows; ask for a "
            "smaller audio_length_in_s or offset_in_s."
        )
    if not shortest * rate <= total_length < longest * rate:
        raise ValueError(
            f"total_length_in_s is {total_length / rate:.2f}, but this model knows songs of at least {shortest:g} and "
            f"less than {longest:g} seconds."
        )


def _generator(seed: Any) -> torch.Generator:
    seed = whole_number("generator", seed)
    if not 0 <= seed < 2**63:
        raise ValueError(f"A seed as generator must be at least 0 and less than 2**63, not {seed}.")
    return torch.Generator().manual_seed(seed)
