"""Going on with a run: what its next step draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypedDict

from ..sampling.draw import DrawSettings
from ..sampling.request import (
    SamplingRequest,
    Seeds,
    Song,
    levels_to_draw,
    song_keys,
    song_span,
    top_codes,
    window_hops,
)
from ..sampling.values import PerLevel, PerSong, at_least_one, per_level, per_song, texts_per_song
from ..system import System
from .folder import JukeboxRun
from .record import Action, ModelRecord, Step


class DrawOptions(TypedDict, total=False):
    """How a batch of songs is drawn; see `JukeboxPipeline.__call__`."""

    temperature: PerLevel[float]
    top_k: PerLevel[int]
    top_p: PerLevel[float]
    hop_fraction: PerLevel[float] | None
    levels: int | Sequence[int] | None
    upsampling: Literal["sequential", "parallel"]
    max_batch_size: int | None


class Changes(TypedDict, total=False):
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
    system: System,
    model: ModelRecord,
    audio_length_in_s: float,
    levels: int | Sequence[int] | None,
    num_waveforms_per_prompt: int,
    changes: Changes,
) -> Step:
    """The step that makes a finished run longer.

    Raises:
        ValueError: it is not finished, or the new length is no longer than the old one.
    """
    _check_finished(run, system)
    length = top_codes(system, audio_length_in_s, 0)
    if length <= run.request.top_codes:
        raise ValueError(
            f"{run.folder} is {run.seconds:.2f} s long already; ask for more than that, the length of the whole piece."
        )
    wanted = run.request.levels if levels is None else levels_to_draw(system, levels)
    return _next_step("continue", run, system, model, length, wanted, num_waveforms_per_prompt, changes)


def upsampled(run: JukeboxRun, system: System, model: ModelRecord, changes: Changes) -> Step:
    """The step that draws the levels under the finished ones.

    Raises:
        ValueError: the run is not finished, or there are no such levels.
    """
    _check_finished(run, system)
    totals = [system.codes(level, run.request.top_codes) for level in range(system.num_levels)]
    finished = [level for level, codes in enumerate(run.codes) if codes.shape[1] >= totals[level]]
    if min(finished) == 0:
        raise ValueError(f"{run.folder} is drawn down to the finest level already; there is nothing to upsample.")
    present = levels_to_draw(system, None)
    wanted = [level for level in range(min(finished) - 1, -1, -1) if level in present]
    if not wanted:
        raise ValueError(f"The model has no prior under level {min(finished)}; load one that has.")
    return _next_step("upsample", run, system, model, run.request.top_codes, wanted, 1, changes)


def _next_step(
    action: Action,
    run: JukeboxRun,
    system: System,
    model: ModelRecord,
    length: int,
    levels: list[int],
    candidates: int,
    changes: Changes,
) -> Step:
    if run.step.folders:
        one = run.folder / run.step.folders[0].name
        raise ValueError(f"{run.folder} is a batch of songs; go on in the folder of one of them, such as {one}.")
    before = run.request
    rows = [row for row in range(len(before.songs)) for _ in range(at_least_one("num_samples", candidates))]
    limit = changes.get("max_batch_size")
    request = SamplingRequest(
        songs=_songs(before, system, length, levels, candidates, changes),
        top_codes=length,
        levels=levels,
        hops=_hops(before, system, changes),
        settings=_settings(before, changes),
        max_batch_size=before.max_batch_size if limit is None else at_least_one("max_batch_size", limit),
        upsampling=before.upsampling,
    )
    known = [[of_level[row] for row in rows] for of_level in run.filled]
    return Step.now(action, request, known, rows, model)


def _check_finished(run: JukeboxRun, system: System) -> None:
    run.check_system(system)
    if not run.is_finished:
        raise ValueError(f"{run.folder} is not finished; go on with it first: hf-jukebox resume {run.folder}")


def _songs(
    before: SamplingRequest, system: System, length: int, levels: Sequence[int], candidates: int, changes: Changes
) -> list[Song]:
    count, rate = len(before.songs), system.vqvae.sampling_rate
    columns: dict[str, list[Any]] = {
        name: texts_per_song(name, changes.get(name), count)  # type: ignore[arg-type]
        for name in ("artist", "genre", "lyrics")
    }
    totals = per_song("total_length_in_s", changes.get("total_length_in_s"), count)
    generator = changes.get("generator")
    keys = None if generator is None else song_keys(generator, count * candidates)
    songs = []
    for row, song in enumerate(before.songs):
        labels = {name: column[row] for name, column in columns.items() if column[row] is not None}
        longer = max(song.total_length, song.offset + length * system.top_hop) / rate
        total = longer if totals[row] is None else totals[row]
        total_length, offset = song_span(system, length, total, song.offset / rate, levels)
        for candidate in range(candidates):
            # Unlike for all songs and candidates under one seed, and the same as before for a single candidate.
            key = (song.key[0], song.key[1] * candidates + candidate)
            key = key if keys is None else keys[row * candidates + candidate]
            songs.append(replace(song, **labels, total_length=total_length, offset=offset, key=key))
    return songs


def _hops(before: SamplingRequest, system: System, changes: Changes) -> list[int]:
    hop_fraction = changes.get("hop_fraction")
    hops = window_hops(system, hop_fraction)
    if hop_fraction is not None:
        return hops
    return [old or new for old, new in zip(before.hops, hops, strict=True)]  # 0 where there was no prior


def _settings(before: SamplingRequest, changes: Changes) -> list[DrawSettings]:
    count = len(before.settings)
    columns: dict[str, list[Any]] = {
        field.name: per_level(field.name, changes.get(field.name), count) for field in fields(DrawSettings)
    }
    return [
        replace(settings, **{name: column[level] for name, column in columns.items() if column[level] is not None})
        for level, settings in enumerate(before.settings)
    ]
