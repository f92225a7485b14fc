"""Arguments of a call, checked and resolved to a `SamplingRequest`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ..audio.prompts import Prompt
from ..catalogue.folder import AnyCatalogue
from ..files.text import listed
from ..hierarchy import Hierarchy
from .avoiding import check_avoidance
from .known import KnownCodes
from .options import SamplingOptions, settings_per_level
from .request import (
    SamplingRequest,
    Seeds,
    check_size,
    check_upsampling,
    levels_to_sample,
    make_songs,
    new_seed,
    seed_of,
    song_keys,
    song_timing,
    window_hops,
)
from .values import PerSong, at_least_one, count_songs, is_list, per_song, texts_per_song


class SongLabels(TypedDict, total=False):
    """Labels with one value for all songs or a list with one per song; see `JukeboxPipeline.__call__`."""

    artist: PerSong[str | None]
    genre: PerSong[str | None]
    lyrics: PerSong[str | None]
    total_length_in_s: PerSong[float | None]


class SongArguments(SongLabels, total=False):
    """Labels of songs, and the offset of the piece in each."""

    offset_in_s: PerSong[float]


def make_request(
    hierarchy: Hierarchy,
    length: int,
    songs: SongArguments,
    options: SamplingOptions,
    *,
    generator: Seeds = None,
    num_waveforms_per_prompt: int = 1,
    prompts: Sequence[Prompt] | None = None,
    known: Sequence[KnownCodes] | None = None,
    kept_lengths: Sequence[int] | None = None,
    catalogue: AnyCatalogue | None = None,
) -> SamplingRequest:
    """Check the arguments of a call and convert them: seconds to codes, one value per song and per level.

    Args:
        length: Length of the piece in top-level codes.
        prompts: Prompts, one per song.
        known: Codes of an earlier run, one entry per level.
        kept_lengths: Top-level codes to keep of each song, where a batch is sampled to the length of its longest.
        catalogue: The catalogue that the option `avoid` names.

    Raises:
        ValueError: an argument is out of range, or their numbers of songs or levels do not agree.
    """
    codes = None if known is None else known[0].lengths
    num_prompts = count_songs(audio=prompts, codes=codes, **songs)
    num_songs = num_prompts * at_least_one("num_waveforms_per_prompt", num_waveforms_per_prompt)
    check_size(hierarchy, num_songs, length)
    levels = levels_to_sample(hierarchy, options.get("levels"))
    totals = per_song("total_length_in_s", songs.get("total_length_in_s"), num_prompts)
    offsets = per_song("offset_in_s", songs.get("offset_in_s", 0.0), num_prompts)
    kept = [length] * num_prompts if kept_lengths is None else kept_lengths
    names: list[str | None] = [None] * num_prompts
    if prompts is not None:
        names = per_song("audio", [each.name for each in prompts], num_prompts)
    max_batch_size = options.get("max_batch_size")
    generator = new_seed() if generator is None else generator
    seed = seed_of(generator)  # before the keys are taken from it
    return SamplingRequest(
        songs=make_songs(
            texts_per_song("artist", songs.get("artist"), num_prompts),
            texts_per_song("genre", songs.get("genre"), num_prompts),
            texts_per_song("lyrics", songs.get("lyrics"), num_prompts),
            [
                song_timing(hierarchy, length, total, offset, levels, own)
                for total, offset, own in zip(totals, offsets, kept, strict=True)
            ],
            song_keys(generator, num_songs),
            names,
        ),
        top_codes=length,
        levels=levels,
        hops=window_hops(hierarchy, options.get("hop_fraction")),
        settings=settings_per_level(options, hierarchy.num_levels),
        max_batch_size=None if max_batch_size is None else at_least_one("max_batch_size", max_batch_size),
        upsampling=check_upsampling(options.get("upsampling", "sequential")),
        avoid=check_avoidance(options, catalogue, hierarchy),
        seed=seed,
    )


def label_remark(
    hierarchy: Hierarchy,
    levels: Sequence[int],
    *,
    artist: PerSong[str | None] = None,
    genre: PerSong[str | None] = None,
    lyrics: PerSong[str | None] = None,
) -> str | None:
    """Return a sentence that names the given labels which the levels to sample cannot use; None where all can.

    The tokenizer itself warns of lyrics that no labelled prior uses.
    """
    given = {"artist": artist, "genre": genre, "lyrics": lyrics}
    names = [name for name, value in given.items() if any(value if is_list(value) else [value])]  # type: ignore[arg-type]
    priors = [prior for level in levels if (prior := hierarchy.priors[level]) is not None]
    labelled = [prior.level for prior in priors if prior.has_labels]
    if names and not labelled:
        verb = "is" if names in (["artist"], ["genre"]) else "are"
        return f"{listed(names)} {verb} ignored: no prior that is sampled from has labels."
    remarks = []
    by_name = [name for name in names if name != "lyrics"]
    if by_name and len(labelled) < len(priors):
        others = [str(prior.level) for prior in priors if not prior.has_labels]
        which = "level" if len(others) == 1 else "levels"
        remarks.append(f"{listed(by_name)} cannot be used at {which} {listed(others)} (no labels there)")
    are_used = any(prior is not None and prior.n_lyrics for prior in hierarchy.priors)
    if "lyrics" in names and are_used and not any(prior.n_lyrics for prior in priors):
        remarks.append("lyrics are ignored: no prior that is sampled from uses them")
    return f"{'; '.join(remarks)}." if remarks else None
