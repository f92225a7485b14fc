"""Going on with a run: what its next step draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypedDict

from ..hierarchy import Hierarchy
from ..sampling.logits import SamplingSettings
from ..sampling.request import (
    SamplingRequest,
    Seeds,
    SongConditioning,
    levels_to_sample,
    song_keys,
    song_span,
    top_codes,
    window_hops,
)
from ..sampling.values import PerLevel, PerSong, at_least_one, per_level, per_song, texts_per_song
from .folder import JukeboxRun
from .record import Action, ModelRecord, RunStep


class SamplingOptions(TypedDict, total=False):
    """How a batch of songs is drawn; see `JukeboxPipeline.__call__`."""

    temperature: PerLevel[float]
    top_k: PerLevel[int]
    top_p: PerLevel[float]
    hop_fraction: PerLevel[float] | None
    levels: int | Sequence[int] | None
    upsampling: Literal["sequential", "parallel"]
    max_batch_size: int | None


class StepOverrides(TypedDict, total=False):
    """What a step does otherwise than the one before; what is left out, or None, stays as it was.

    Labels and lengths are one for all songs or one a song, the rest one for all levels or one a level, finest first.
    """

    artist: PerSong[str | None]
    genre: PerSong[str | None]
    lyrics: PerSong[str | None]
    total_length_in_s: PerSong[float | None]
    temperature: PerLevel[float] | None
    top_k: PerLevel[int] | None
    top_p: PerLevel[float] | None
    hop_fraction: PerLevel[float] | None
    generator: Seeds
    max_batch_size: int | None


def continued(
    run: JukeboxRun,
    hierarchy: Hierarchy,
    model: ModelRecord,
    audio_length_in_s: float,
    levels: int | Sequence[int] | None,
    num_waveforms_per_prompt: int,
    overrides: StepOverrides,
) -> RunStep:
    """The step that makes a finished run longer.

    Raises:
        ValueError: it is not finished, or the new length is no longer than the old one.
    """
    _check_finished(run, hierarchy)
    length = top_codes(hierarchy, audio_length_in_s, 0)
    if length <= run.request.top_codes:
        raise ValueError(
            f"{run.folder} is {run.seconds:.2f} s long already; ask for more than that, the length of the whole piece."
        )
    wanted = run.request.levels if levels is None else levels_to_sample(hierarchy, levels)
    return _next_step("continue", run, hierarchy, model, length, wanted, num_waveforms_per_prompt, overrides)


def upsampled(run: JukeboxRun, hierarchy: Hierarchy, model: ModelRecord, overrides: StepOverrides) -> RunStep:
    """The step that draws the levels under the finished ones.

    Raises:
        ValueError: the run is not finished, or there are no such levels.
    """
    _check_finished(run, hierarchy)
    totals = [hierarchy.codes(level, run.request.top_codes) for level in range(hierarchy.num_levels)]
    finished = [level for level, codes in enumerate(run.codes) if codes.shape[1] >= totals[level]]
    if min(finished) == 0:
        raise ValueError(f"{run.folder} is drawn down to the finest level already; there is nothing to upsample.")
    present = levels_to_sample(hierarchy, None)
    wanted = [level for level in range(min(finished) - 1, -1, -1) if level in present]
    if not wanted:
        raise ValueError(f"The model has no prior under level {min(finished)}; load one that has.")
    return _next_step("upsample", run, hierarchy, model, run.request.top_codes, wanted, 1, overrides)


def _next_step(
    action: Action,
    run: JukeboxRun,
    hierarchy: Hierarchy,
    model: ModelRecord,
    length: int,
    levels: list[int],
    candidates: int,
    overrides: StepOverrides,
) -> RunStep:
    if run.step.folders:
        one = run.folder / run.step.folders[0].name
        raise ValueError(f"{run.folder} is a batch of songs; go on in the folder of one of them, such as {one}.")
    before = run.request
    rows = [row for row in range(len(before.songs)) for _ in range(at_least_one("num_samples", candidates))]
    limit = overrides.get("max_batch_size")
    request = SamplingRequest(
        songs=_songs(before, hierarchy, length, levels, candidates, overrides),
        top_codes=length,
        levels=levels,
        hops=_hops(before, hierarchy, overrides),
        settings=_settings(before, overrides),
        max_batch_size=before.max_batch_size if limit is None else at_least_one("max_batch_size", limit),
        upsampling=before.upsampling,
    )
    known = [[of_level[row] for row in rows] for of_level in run.filled]
    return RunStep.now(action, request, known, rows, model)


def _check_finished(run: JukeboxRun, hierarchy: Hierarchy) -> None:
    run.check_system(hierarchy)
    if not run.is_finished:
        raise ValueError(f"{run.folder} is not finished; go on with it first: hf-jukebox resume {run.folder}")


def _songs(
    before: SamplingRequest,
    hierarchy: Hierarchy,
    length: int,
    levels: Sequence[int],
    candidates: int,
    overrides: StepOverrides,
) -> list[SongConditioning]:
    count, rate = len(before.songs), hierarchy.vqvae.sampling_rate
    columns: dict[str, list[Any]] = {
        name: texts_per_song(name, overrides.get(name), count)  # type: ignore[arg-type]
        for name in ("artist", "genre", "lyrics")
    }
    totals = per_song("total_length_in_s", overrides.get("total_length_in_s"), count)
    generator = overrides.get("generator")
    keys = None if generator is None else song_keys(generator, count * candidates)
    songs = []
    for row, song in enumerate(before.songs):
        labels = {name: column[row] for name, column in columns.items() if column[row] is not None}
        longer = max(song.total_length, song.offset + length * hierarchy.top_hop) / rate
        total = longer if totals[row] is None else totals[row]
        total_length, offset = song_span(hierarchy, length, total, song.offset / rate, levels)
        for candidate in range(candidates):
            # Unlike for all songs and candidates under one seed, and the same as before for a single candidate.
            key = (song.key[0], song.key[1] * candidates + candidate)
            key = key if keys is None else keys[row * candidates + candidate]
            songs.append(replace(song, **labels, total_length=total_length, offset=offset, key=key))
    return songs


def _hops(before: SamplingRequest, hierarchy: Hierarchy, overrides: StepOverrides) -> list[int]:
    hop_fraction = overrides.get("hop_fraction")
    hops = window_hops(hierarchy, hop_fraction)
    if hop_fraction is not None:
        return hops
    return [old or new for old, new in zip(before.hops, hops, strict=True)]  # 0 where there was no prior


def _settings(before: SamplingRequest, overrides: StepOverrides) -> list[SamplingSettings]:
    count = len(before.settings)
    columns: dict[str, list[Any]] = {
        field.name: per_level(field.name, overrides.get(field.name), count) for field in fields(SamplingSettings)
    }
    return [
        replace(settings, **{name: column[level] for name, column in columns.items() if column[level] is not None})
        for level, settings in enumerate(before.settings)
    ]
