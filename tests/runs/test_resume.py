"""Runs that are killed at any moment and resumed have the same codes and audio as uninterrupted runs."""

import mmap
import os
import random
import shutil
import signal
import struct
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, noise_audio

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress

pytestmark = pytest.mark.usefixtures("no_fsync")

CODES_BETWEEN_CHECKPOINTS = 20
MODES = ("ancestral", "primed", "continue", "parallel", "upsample")
ROWS = 2  # sampled at a time
SampleRun = Callable[[Path, Any], object]


@pytest.fixture(autouse=True)
def clock_of_codes(count_time_in_codes: Callable[[int], None]) -> None:
    count_time_in_codes(CODES_BETWEEN_CHECKPOINTS)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def run_sampler(pipe: JukeboxPipeline, mode: str, start: Path) -> SampleRun:
    """Return a function that samples a run of a mode into a folder; `start` is the folder of a run to start from."""

    def new_run(folder: Path, callback: Any, prompts: Any = None, codes: int = 22, **options: Any) -> None:
        pipe(
            prompts,
            artist=["night bus", "the lanterns", "night bus"],
            audio_length_in_s=codes_in_s(codes),
            max_batch_size=ROWS,
            generator=seeded(),
            output_dir=folder,
            callback=callback,
            **options,
        )

    if mode == "ancestral":
        return new_run
    if mode in ("primed", "parallel"):
        prompts = [noise_audio(codes_in_s(codes), codes) for codes in (3, 9, 6)]
        how = "parallel" if mode == "parallel" else "sequential"
        return lambda folder, callback: new_run(folder, callback, prompts, upsampling=how)
    if not start.exists():
        new_run(start, None, codes=9 if mode == "continue" else 22, levels=None if mode == "continue" else 2)

    def next_step(folder: Path, callback: Any) -> None:
        # Renamed into place, because the parent process may read the folder at any moment.
        shutil.copytree(start, folder.with_name(f"{folder.name}-copy")).rename(folder)
        if mode == "continue":
            pipe.continue_run(folder, codes_in_s(22), temperature=1.1, max_batch_size=ROWS, callback=callback)
        else:
            pipe.upsample_run(folder, max_batch_size=ROWS, callback=callback)

    return next_step


def contents(folder: Path) -> tuple[list[torch.Tensor], dict[str, bytes]]:
    audio = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.wav")}
    return JukeboxRun.open(folder).codes, audio


def check_equal(folder: Path, other: Path) -> None:
    (codes, audio), (other_codes, other_audio) = contents(folder), contents(other)
    assert all(torch.equal(a, b) for a, b in zip(codes, other_codes, strict=True))
    assert audio == other_audio and audio


def poll(folder: Path, uninterrupted: list[torch.Tensor]) -> None:
    """Check that a reader finds no run yet, or one whose codes are the first ones of the uninterrupted run."""
    try:
        run = JukeboxRun.open(folder)
    except FileNotFoundError:
        return
    for level, (codes, whole) in enumerate(zip(run.codes, uninterrupted, strict=True)):
        differ = (codes != whole[:, : codes.shape[1]]).nonzero().tolist()
        assert not differ, f"level {level}, {run.num_filled}: {differ[:5]}"
    for paths in run.audio_paths().values():
        assert all(path.is_file() for path in paths)


def sample_and_kill(
    sample: SampleRun, folder: Path, after: int, pause: float, whole: list[torch.Tensor]
) -> tuple[int, ...]:
    """Sample in another process and kill it after some codes; return its level then, and the codes left there."""
    shared = mmap.mmap(-1, 24)
    codes = count(1)

    def report(progress: SamplingProgress) -> None:
        values = (next(codes), progress.level, progress.level_to_sample - progress.level_sampled)
        shared[:] = struct.pack("3q", *values)

    child = os.fork()
    if child == 0:
        try:
            sample(folder, report)
        finally:
            os._exit(0)
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        poll(folder, whole)
        if struct.unpack("3q", shared[:])[0] >= after:
            time.sleep(pause)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
    return struct.unpack("3q", shared[:])[1:]


def kill_and_resume(pipe: JukeboxPipeline, mode: str, moment: random.Random, tmp_path: Path, whole: Path) -> None:
    sample = run_sampler(pipe, mode, whole.parent / f"{mode}-start")
    if not whole.exists():
        sample(whole, None)
    codes = JukeboxRun.open(whole).codes
    last = 2 * sum(level_codes.shape[1] for level_codes in codes)
    after, pause = moment.randint(1, last), moment.choice([0.0, 0.001, 0.01, 0.05])
    level, left = sample_and_kill(sample, tmp_path / "run", after, pause, codes)

    resumed: list[SamplingProgress] = []
    pipe.resume_run(tmp_path / "run", callback=resumed.append)
    check_equal(tmp_path / "run", whole)
    assert not list((tmp_path / "run" / "state").glob("*.safetensors"))
    if resumed and resumed[0].level == level:
        # Since the last checkpoint, and while it was written.
        assert resumed[0].level_to_sample - left <= 4 * ROWS * (CODES_BETWEEN_CHECKPOINTS + 1)


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_run_is_resumed_with_the_same_bits(
    pipe: JukeboxPipeline, seed: int, tmp_path: Path, whole_runs: Path
) -> None:
    mode = MODES[seed]
    kill_and_resume(pipe, mode, random.Random(seed), tmp_path, whole_runs / mode)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_run_may_be_killed_at_any_moment(pipe: JukeboxPipeline, seed: int, tmp_path: Path, whole_runs: Path) -> None:
    mode = MODES[seed % len(MODES)]
    kill_and_resume(pipe, mode, random.Random(100 + seed), tmp_path, whole_runs / mode)


@pytest.mark.parametrize("codes", [30, 150, 420])
def test_a_run_that_is_stopped_loses_nothing(pipe: JukeboxPipeline, codes: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(22), "artist": "night bus"}
    whole = pipe(generator=seeded(), **options)
    seen: list[SamplingProgress] = []

    def stop(progress: SamplingProgress) -> bool:
        seen.append(progress)
        return len(seen) < codes

    pipe(generator=seeded(), output_dir=tmp_path / "run", callback=stop, **options)
    assert not JukeboxRun.open(tmp_path / "run").is_finished
    resumed: list[SamplingProgress] = []
    out = pipe.resume_run(tmp_path / "run", callback=resumed.append)
    assert (resumed[0].level, resumed[0].filled) == (seen[-1].level, seen[-1].filled + 1)
    assert resumed[-1].sampled == resumed[-1].to_sample == len(resumed)
    assert all(torch.equal(a, b) for a, b in zip(out.codes, whole.codes, strict=True))
    assert (out.audios == whole.audios).all()


def test_ctrl_c_in_the_middle_of_a_step_loses_nothing(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(20), "levels": (2, 1)}
    whole = pipe(generator=seeded(), **options)
    block = pipe.prior_1.transformer.blocks[1]
    calls, step = count(), block.step

    def interrupted(*args: Any) -> torch.Tensor:
        if next(calls) == 33:
            raise KeyboardInterrupt
        return step(*args)

    block.step = interrupted
    try:
        with pytest.raises(KeyboardInterrupt):
            pipe(generator=seeded(), output_dir=tmp_path / "run", **options)
    finally:
        block.step = step
    resumed: list[SamplingProgress] = []
    out = pipe.resume_run(tmp_path / "run", callback=resumed.append)
    assert (resumed[0].level, resumed[0].filled) == (1, 34)
    assert all(torch.equal(a, b) for a, b in zip(out.codes, whole.codes, strict=True))


def test_resuming_with_fewer_songs_at_a_time(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(20), "num_waveforms_per_prompt": 3, "levels": 2}
    whole = pipe(generator=seeded(), **options)
    pipe(generator=seeded(), output_dir=tmp_path / "run", callback=lambda progress: progress.filled < 11, **options)
    groups = []
    out = pipe.resume_run(tmp_path / "run", max_batch_size=1, callback=lambda progress: groups.append(progress.songs))
    assert set(groups) == {range(0, 1), range(1, 2), range(2, 3)} and len(groups) == 27
    assert torch.equal(out.codes[2], whole.codes[2])
