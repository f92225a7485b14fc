"""Actions on a run, each of which starts its next step: continue it, upsample it, pick a candidate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files.text import shell_command, user_path
from ..hierarchy import Hierarchy
from ..sampling.arguments import SongLabels
from ..sampling.options import LevelOptions, settings_per_level
from ..sampling.request import (
    SamplingRequest,
    Seeds,
    SongConditioning,
    levels_to_sample,
    seed_of,
    song_keys,
    song_timing,
    top_codes,
    window_hops,
)
from ..sampling.values import at_least_one, per_song, texts_per_song
from .contents import RunReader
from .folder import JukeboxRun
from .names import REQUEST
from .record import Action, ModelRecord, RunStep
from .run_page import update_page


class StepOverrides(LevelOptions, SongLabels, total=False):
    """Overrides for the next step; fields left out or None keep their values."""

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
    """Return the step that extends a finished run.

    Raises:
        ValueError: it is not finished, or the new length is no longer than the old one.
    """
    run.check_hierarchy(hierarchy)
    check_can_go_on(run)
    length = top_codes(hierarchy, audio_length_in_s, 0)
    _check_longer(run, length)
    wanted = _sampled_levels(run) if levels is None else levels_to_sample(hierarchy, levels)
    return _next_step("continue", run, hierarchy, model, length, wanted, num_waveforms_per_prompt, overrides)


def upsampled(run: JukeboxRun, hierarchy: Hierarchy, model: ModelRecord, overrides: StepOverrides) -> RunStep:
    """Return the step that samples the levels below the finished ones.

    Raises:
        ValueError: the run is not finished, or there are no such levels.
    """
    run.check_hierarchy(hierarchy)
    check_can_go_on(run)
    totals = [hierarchy.codes(level, run.request.top_codes) for level in range(hierarchy.num_levels)]
    finished = [level for level, codes in enumerate(run.codes) if codes.shape[1] >= totals[level]]
    if min(finished) == 0:
        raise ValueError(f"{run.folder} has all levels down to the finest already; there is nothing to upsample.")
    present = levels_to_sample(hierarchy, None)
    wanted = [level for level in range(min(finished) - 1, -1, -1) if level in present]
    if not wanted:
        raise ValueError(f"The model has no prior below level {min(finished)}; load a model that has one.")
    return _next_step("upsample", run, hierarchy, model, run.request.top_codes, wanted, 1, overrides)


def check_can_go_on(run: RunReader, audio_length_in_s: float | None = None) -> None:
    """Check that a run can be continued or upsampled, as far as that depends on no model.

    Args:
        audio_length_in_s: The new length, if it is to be continued.

    Raises:
        ValueError: it is a batch, is not finished, or is as long already.
    """
    if not run.is_finished:
        resume = shell_command("hf-jukebox", "resume", run.folder)
        raise ValueError(f"{run.folder} is not finished; resume it first: {resume}")
    if run.step.folders:
        one = run.folder / run.step.folders[0].name
        raise ValueError(f"{run.folder} is a batch of songs; continue in the folder of one of them, such as {one}.")
    if audio_length_in_s is not None:
        _check_longer(run, round(audio_length_in_s * run.sampling_rate) // run.step.model.hop_lengths[-1])


def _check_longer(run: RunReader, length: int) -> None:
    if length <= run.request.top_codes:
        raise ValueError(
            f"{run.folder} is {run.seconds:.2f} s long already; ask for more than that, the length of the whole piece."
        )


def pick_candidate(run_dir: str | os.PathLike[str], number: int) -> None:
    """Keep one candidate of a run, the `item_N.wav` with this number; all of them stay in `run_dir/earlier`.

    Raises:
        OSError: the folder holds no run, or another process works on it.
        ValueError: there is no such candidate, or only one.
    """
    with JukeboxRun.open_for_writing(user_path(run_dir)) as run:
        _check_choice(run, number)
        num_filled = [[level_filled[number]] for level_filled in run.num_filled]
        request = replace(run.request, songs=[run.request.songs[number]])
        earlier = _move_to_earlier(run)
        run.start_step(RunStep.now("pick", request, num_filled, [number], run.step.model))
        for level in range(len(num_filled)):
            audio = earlier / f"level_{level}" / f"item_{number}.wav"
            if audio.is_file():
                _link(audio, run.audio_path(level, 0))
        update_page(run)


def _check_choice(run: JukeboxRun, number: int) -> None:
    count = len(run.request.songs)
    if run.step.folders:
        one = run.folder / run.step.folders[0].name
        raise ValueError(f"{run.folder} is a batch of songs; pick in the folder of one of them, such as {one}.")
    if count == 1:
        raise ValueError(f"{run.folder} holds one song, so there is nothing to pick.")
    if not 0 <= number < count:
        raise ValueError(f"{run.folder} holds the songs 0 to {count - 1}; there is no {number}.")


def _move_to_earlier(run: JukeboxRun) -> Path:
    """Move the audio and the page of the current step to `earlier/K`, with links to its request and codes."""
    earlier = run.folder / "earlier" / str(len(run.steps) - 1)
    shared = [run.folder / REQUEST, *run.folder.glob("audio.json"), *run.folder.glob("codes/*.safetensors")]
    for path in shared:
        _link(path, earlier / path.relative_to(run.folder))
    for path in [*run.folder.glob("level_*/item_*.wav"), *run.folder.glob("index.html")]:
        target = earlier / path.relative_to(run.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    return earlier


def _link(source: Path, target: Path) -> None:
    """Link a file, which is only ever replaced as a whole, or copy it on file systems without links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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
    before = run.request
    rows = [
        row for row in range(len(before.songs)) for _ in range(at_least_one("num_waveforms_per_prompt", candidates))
    ]
    limit, generator = overrides.get("max_batch_size"), overrides.get("generator")
    seed = before.seed if generator is None else seed_of(generator)  # before the keys are taken from it
    request = SamplingRequest(
        songs=_songs(before, hierarchy, length, levels, candidates, overrides),
        top_codes=length,
        levels=levels,
        hops=_hops(before, hierarchy, overrides),
        settings=settings_per_level(overrides, hierarchy.num_levels, before.settings),
        max_batch_size=before.max_batch_size if limit is None else at_least_one("max_batch_size", limit),
        upsampling=before.upsampling,
        avoid=before.avoid,
        seed=seed,
    )
    known = [[num_filled[row] for row in rows] for num_filled in run.num_filled]
    return RunStep.now(action, request, known, rows, model)


def _sampled_levels(run: JukeboxRun) -> list[int]:
    """Return the levels of the last step, and of the steps that it was picked from or upsampled."""
    levels: set[int] = set()
    for step in reversed(run.steps):
        levels |= set(step.request.levels)
        if step.action not in ("pick", "upsample"):
            break
    return sorted(levels, reverse=True)


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
        total_length, offset = song_timing(hierarchy, length, total, song.offset / rate, levels)
        for candidate in range(candidates):
            # Unique per song and candidate under one seed; unchanged for a single candidate.
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
