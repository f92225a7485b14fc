"""Checkpoints are written by a thread while sampling goes on, each as it was at one moment."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress
from hf_jukebox.runs import folder
from hf_jukebox.runs.checkpoint_writer import CheckpointWriter
from hf_jukebox.runs.storage import SnapshotStore
from hf_jukebox.sampling import batch
from hf_jukebox.sampling.batch import BatchSampler, BatchTask, Snapshot
from hf_jukebox.sampling.options import SamplingSettings
from hf_jukebox.sampling.windows import Span, Window

pytestmark = pytest.mark.usefixtures("no_fsync")

CODES = 24
FIRST = 6  # codes before the first checkpoint is due


@pytest.fixture(autouse=True)
def clock_of_codes(count_time_in_codes: Callable[[int], None]) -> None:
    count_time_in_codes(FIRST)


def sample(pipe: JukeboxPipeline, output_dir: Path | None, callback: Any = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(CODES), "levels": 2, "output_dir": output_dir}
    artists = ["night bus", "the lanterns"]
    return pipe(artist=artists, generator=generator, callback=callback, output_type="latent", **options).codes[2]


@pytest.fixture(scope="module")
def whole(pipe: JukeboxPipeline) -> torch.Tensor:
    return sample(pipe, None)


class SlowDisk:
    """A disk that writes the windows in progress when `go` is set, and then counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.in_flight = self.most_in_flight = 0
        write = SnapshotStore.write

        def slow_write(store: SnapshotStore, level: int, snapshots: dict[Any, Snapshot]) -> None:
            if threading.current_thread() is not threading.main_thread():
                self.in_flight += 1
                self.most_in_flight = max(self.in_flight, self.most_in_flight)
                self.begun.set()
                self.go.wait()
                self.in_flight -= 1
                if fails is not None:
                    raise fails
            write(store, level, snapshots)

        monkeypatch.setattr(SnapshotStore, "write", slow_write)

    def half_way(self, then: Callable[[], None]) -> Callable[[SamplingProgress], None]:
        """Return a callback that calls `then` half-way, when a checkpoint is being written."""

        def callback(progress: SamplingProgress) -> None:
            if progress.filled == CODES // 2:
                assert self.begun.wait(60)
                then()

        return callback


def test_sampling_goes_on_while_one_checkpoint_is_written(
    pipe: JukeboxPipeline, whole: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, seen = SlowDisk(monkeypatch), []

    def callback(progress: SamplingProgress) -> None:
        if progress.filled == CODES // 2:
            assert disk.begun.wait(60)
        seen.append(disk.in_flight)
        if progress.filled == CODES - 1:
            disk.go.set()

    assert torch.equal(sample(pipe, tmp_path / "run", callback), whole)
    assert sum(seen) >= CODES // 2 and disk.most_in_flight == 1
    assert JukeboxRun.open(tmp_path / "run").is_finished


def test_an_interruption_waits_for_the_checkpoint_in_progress_and_loses_nothing(
    pipe: JukeboxPipeline, whole: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    def interrupt() -> None:
        threading.Timer(0.05, disk.go.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(pipe, tmp_path / "run", disk.half_way(interrupt))
    assert disk.in_flight == 0
    resumed: list[SamplingProgress] = []
    assert torch.equal(pipe.resume_run(tmp_path / "run", callback=resumed.append).codes[2], whole)
    assert resumed[0].filled == CODES // 2 + 1


def kill_in(sample_run: Callable[[], object], marker: Path) -> None:
    """Sample in another process, and kill it once there is a marker."""
    child = os.fork()
    if child == 0:
        try:
            sample_run()
        finally:
            os._exit(0)
    while not marker.exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the process ended by itself"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(
    pipe: JukeboxPipeline, whole: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)

    def wait_to_be_killed() -> None:
        (tmp_path / "marker").touch()
        time.sleep(600)

    kill_in(lambda: sample(pipe, tmp_path / "run", disk.half_way(wait_to_be_killed)), tmp_path / "marker")
    disk.go.set()
    assert torch.equal(pipe.resume_run(tmp_path / "run").codes[2], whole)


def test_a_full_disk_is_reported_and_the_run_can_be_resumed(
    pipe: JukeboxPipeline, whole: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[int] = []
    tried: list[futures.Future[None] | None] = []
    start = CheckpointWriter.start

    def recorded_start(writer: CheckpointWriter, write: Callable[[], None]) -> None:
        start(writer, write)
        tried.append(writer._written)

    def callback(progress: SamplingProgress) -> None:
        filled.append(progress.filled)
        futures.wait(filter(None, tried), 60)  # otherwise the thread may fail after the last code only

    with monkeypatch.context() as patch:
        disk = SlowDisk(patch, fails=OSError(errno.ENOSPC, "the disk is full"))
        disk.go.set()
        patch.setattr(CheckpointWriter, "start", recorded_start)
        with pytest.raises(OSError, match="the disk is full"):
            sample(pipe, tmp_path / "run", callback)
    assert filled[-1] < CODES
    assert torch.equal(pipe.resume_run(tmp_path / "run").codes[2], whole)


def test_a_checkpoint_is_that_of_the_moment_when_it_was_due(
    pipe: JukeboxPipeline, whole: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, saved = SlowDisk(monkeypatch), []
    save = folder.JukeboxRun.save

    def recorded_save(run: JukeboxRun, level: int, codes: Any, snapshots: Callable[[], Any]) -> None:
        found = snapshots()
        if disk.begun.is_set() is False:
            disk.begun.set()
            disk.go.wait()  # the codes after it are sampled meanwhile
            saved.append((codes.num_filled, codes.codes.clone(), found))
        save(run, level, codes, lambda: found)

    monkeypatch.setattr(folder.JukeboxRun, "save", recorded_save)

    def callback(progress: SamplingProgress) -> None:
        if progress.filled == CODES - 2:
            disk.go.set()

    sample(pipe, tmp_path / "run", callback)
    ((num_filled, codes, snapshots),) = saved
    (snapshot,) = snapshots.values()
    filled = snapshot.filled
    assert num_filled == [filled, filled] and 0 < filled < CODES // 2
    assert torch.equal(codes[:, :filled], whole[:, :filled]) and torch.equal(snapshot.codes, whole[:, :filled])


def test_on_cuda_the_copy_is_begun_at_once_and_awaited_by_the_writer(
    pipe: JukeboxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is the CPU, whose copies are complete at once."""
    steps: list[str] = []

    class Event:
        def record(self, stream: Any) -> None:
            steps.append(f"recorded on {stream}")

        def synchronize(self) -> None:
            steps.append("awaited")

    pinned: list[torch.Size] = []
    empty = torch.empty

    def pin(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        if pin_memory:
            pinned.append(torch.Size(shape[0]))
            if len(pinned) == 2:
                raise RuntimeError("CUDA error: out of memory")
        return empty(*shape, **options)

    prior = pipe.prior_2
    labels = torch.zeros(1, prior.config.label_length, dtype=torch.long)
    labels[:, :3] = torch.tensor([prior.config.sampling_rate * 60, 0, prior.config.window_length])
    task = BatchTask(
        torch.zeros(1, 8, dtype=torch.long),
        [0],
        8,
        torch.rand(1, 8),
        SamplingSettings(),
        labels_at=lambda start: labels,
    )
    sampler = BatchSampler(prior, task)
    for filled in sampler:
        if filled == 5:
            break
    expected = sampler.snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_is_on_cuda", lambda tensor: True)
        patch.setattr(torch, "empty", pin)
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch.cuda, "current_stream", lambda device: device)
        snapshot = sampler.snapshot(in_background=True)
    assert steps == ["recorded on cpu"] and len(pinned) == len(expected.tensors) + 1
    SnapshotStore(tmp_path, 0).write(2, {(Span(0, Window(0, 8, 0)),): snapshot})
    assert steps == ["recorded on cpu", "awaited"]
    assert torch.equal(snapshot.codes, expected.codes)
    assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in snapshot.tensors.items())


def test_an_error_of_the_writer_is_raised_at_the_next_checkpoint() -> None:
    writer = CheckpointWriter()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    writer.start(fail)
    while not writer.is_due:
        time.sleep(0.001)
    with pytest.raises(OSError, match="the disk is full"):
        writer.start(lambda: None)
    writer.finish()
