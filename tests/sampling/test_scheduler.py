"""Batches that do not fit into memory are sampled in halves, with the same codes."""

import logging
from concurrent.futures import wait
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress
from hf_jukebox.memory import batch_size
from hf_jukebox.runs.checkpoint_writer import CheckpointWriter
from hf_jukebox.sampling.batch import BatchSampler
from hf_jukebox.sampling.windows import Span, Window, split_evenly

SONGS: dict[str, Any] = {"audio_length_in_s": codes_in_s(18), "num_waveforms_per_prompt": 4, "levels": (2, 1)}


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def run_out_of_memory(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch, method: str, songs: int, after: int = 0
) -> None:
    """Make the upsampler run out of memory, as CUDA does, with more than `songs` songs from call `after` on."""
    original, calls = getattr(pipe.prior_1, method), count()

    def limited(state: Any, *args: Any) -> Any:
        if state.batch_size > songs and next(calls) >= after:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return original(state, *args)

    monkeypatch.setattr(pipe.prior_1, method, limited)


@pytest.mark.parametrize(
    ("method", "songs", "after", "sizes"),
    [("step", 2, 25, [4, 2]), ("step", 1, 25, [4, 1]), ("prefill", 2, 0, [2]), ("prefill", 2, 1, [4, 2])],
)
def test_running_out_of_memory_halves_the_batch(
    pipe: JukeboxPipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    songs: int,
    after: int,
    sizes: list[int],
) -> None:
    whole = pipe(generator=seeded(), **SONGS)
    run_out_of_memory(pipe, monkeypatch, method, songs, after)
    seen: list[SamplingProgress] = []
    with caplog.at_level(logging.WARNING):
        halved = pipe(generator=seeded(), callback=seen.append, **SONGS)
    assert all(torch.equal(a, b) for a, b in zip(halved.codes, whole.codes, strict=True))
    assert (halved.audios == whole.audios).all()
    assert list(dict.fromkeys(len(each.songs) for each in seen if each.level == 1)) == sizes
    assert "retrying with 2 at a time" in caplog.text
    # No code was sampled twice: the halves resumed where the whole was.
    codes = [(song, each.filled) for each in seen if each.level == 1 for song in each.songs]
    assert len(codes) == len(set(codes)) == 4 * 72


def test_one_song_that_does_not_fit_is_an_error_that_says_what_to_do(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = pipe(generator=seeded(), **SONGS)
    with monkeypatch.context() as patch:
        run_out_of_memory(pipe, patch, "step", 0, 30)
        with pytest.raises(MemoryError, match=r"try `dtype=.float16.`, or .*enable_model_cpu_offload"):
            pipe(generator=seeded(), output_dir=tmp_path / "run", **SONGS)
    assert JukeboxRun.open(tmp_path / "run").num_filled[1] == [30] * 4
    resumed = pipe.resume_run(tmp_path / "run", max_batch_size=2)
    assert all(torch.equal(a, b) for a, b in zip(resumed.codes, whole.codes, strict=True))


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(pipe.prior_1, "step", fail)
    with pytest.raises(RuntimeError, match="something else"):
        pipe(**SONGS)


def test_a_batch_that_is_unlikely_to_fit_is_split_before_sampling(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = SONGS | {"levels": 2, "audio_length_in_s": codes_in_s(4)}
    whole = pipe(generator=seeded(), **options)
    assert pipe.prior_2 is not None
    room_for_three = int((3.5 * batch_size.song_bytes(pipe.prior_2, 4)) / 0.9)
    monkeypatch.setattr(batch_size, "free_bytes", lambda device: room_for_three)
    groups: list[range] = []
    with caplog.at_level(logging.WARNING):
        out = pipe(generator=seeded(), callback=lambda each: groups.append(each.songs), **options)
    assert list(dict.fromkeys(groups)) == [range(2), range(2, 4)]  # rather than 3 and 1
    assert "4 songs at a time do not fit into memory; sampling 3 at a time" in caplog.text
    assert torch.equal(out.codes[2], whole.codes[2])


@pytest.mark.parametrize(("num_rows", "most"), [(10, 4), (10, 3), (139, 85), (5, 2), (7, 7), (1, 3)])
def test_what_is_left_of_a_level_is_split_as_the_whole_was(num_rows: int, most: int) -> None:
    rows = [Span(song, Window(0, 8, 0)) for song in range(num_rows)]
    parts = split_evenly(rows, most)
    sizes = [len(part) for part in parts]
    assert sum(parts, ()) == tuple(rows) and max(sizes) <= most and max(sizes) - min(sizes) <= 1
    for n in range(len(parts)):
        assert split_evenly(rows[sum(sizes[:n]) :], most) == parts[n:]


def test_half_precision_says_that_codes_depend_on_the_size_of_the_batch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    pipe = tiny_pipeline().to(torch.bfloat16)
    run_out_of_memory(pipe, monkeypatch, "step", 2, 25)
    with caplog.at_level(logging.WARNING):
        pipe(generator=seeded(), **SONGS)
    assert "No progress was lost. In bfloat16 the next codes depend on the number at a time." in caplog.text
    monkeypatch.undo()
    options = SONGS | {"levels": 2}
    pipe(output_dir=tmp_path / "run", callback=lambda progress: progress.sampled < 20, **options)
    with caplog.at_level(logging.WARNING):
        pipe.resume_run(tmp_path / "run", max_batch_size=2)
    assert "A batch of 4 is resumed with 2 at a time. In bfloat16" in caplog.text


def fail_to_snapshot(monkeypatch: pytest.MonkeyPatch, after: int, songs: int = 0) -> None:
    """Make snapshots of more than `songs` songs run out of memory, as the CPU allocator does."""
    original, calls = BatchSampler.snapshot, count()

    def limited(sampler: BatchSampler, in_background: bool = False) -> Any:
        if sampler.task.codes.shape[0] > songs and next(calls) >= after:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1000 bytes.")
        return original(sampler, in_background)

    monkeypatch.setattr(BatchSampler, "snapshot", limited)


def test_codes_are_kept_when_the_windows_in_progress_do_not_fit_into_memory(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = pipe(generator=seeded(), **SONGS)
    num_codes = count(1)
    with monkeypatch.context() as patch:
        fail_to_snapshot(patch, after=0)
        with pytest.raises(MemoryError, match=r"the codes sampled so far are in .*run: resume it with") as error:
            pipe(generator=seeded(), output_dir=tmp_path / "run", callback=lambda _: next(num_codes) < 55, **SONGS)
    assert "\n" not in str(error.value)
    assert JukeboxRun.open(tmp_path / "run").num_filled[1] == [37] * 4  # 18 of the 55 codes are those of the top level
    resumed = pipe.resume_run(tmp_path / "run", max_batch_size=1)
    assert all(torch.equal(a, b) for a, b in zip(resumed.codes, whole.codes, strict=True))


def test_a_checkpoint_that_does_not_fit_into_memory_keeps_the_codes(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def is_written(writer: CheckpointWriter) -> bool:
        wait([] if writer._written is None else [writer._written])
        return True

    monkeypatch.setattr(CheckpointWriter, "is_due", property(is_written))
    with monkeypatch.context() as patch:
        fail_to_snapshot(patch, after=25)
        with pytest.raises(MemoryError, match="resume it with"):
            pipe(generator=seeded(), output_dir=tmp_path / "run", **SONGS)
    run = JukeboxRun.open(tmp_path / "run")
    assert run.num_filled[2] == [18] * 4 and 0 < run.num_filled[1][0] < 72
    resumed = pipe.resume_run(tmp_path / "run")
    whole = pipe(generator=seeded(), **SONGS)
    assert all(torch.equal(a, b) for a, b in zip(resumed.codes, whole.codes, strict=True))


def test_a_batch_is_halved_where_a_copy_of_it_does_not_fit_either(
    pipe: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipe(generator=seeded(), **SONGS)
    run_out_of_memory(pipe, monkeypatch, "step", songs=2, after=25)
    fail_to_snapshot(monkeypatch, after=0, songs=2)
    seen: list[SamplingProgress] = []
    halved = pipe(generator=seeded(), callback=seen.append, **SONGS)
    assert all(torch.equal(a, b) for a, b in zip(halved.codes, whole.codes, strict=True))
    # The window is sampled again from its start, and the progress counts that.
    assert seen[-1].sampled == seen[-1].to_sample == 4 * (18 + 72 + 25)
