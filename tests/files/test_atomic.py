"""Atomic writes and locks on drives without locks or folder synchronisation, and with links in the way."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
import torch

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxRun
from hf_jukebox.files.atomic import locked, new_folder, replacing


def fail_sync(monkeypatch: pytest.MonkeyPatch, number: int, *, of_folders: bool) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def fail_flock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.ENOSYS])
def test_a_folder_that_cannot_be_synchronised_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_sync(monkeypatch, number, of_folders=True)
    with replacing(tmp_path / "new" / "file") as unfinished:
        unfinished.write_text("x")
    assert (tmp_path / "new" / "file").read_text() == "x"


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_sync(monkeypatch, errno.EIO, of_folders=True)
    with pytest.raises(OSError, match="cannot be written"), replacing(tmp_path / "file") as unfinished:
        unfinished.write_text("x")


def test_a_file_that_cannot_be_synchronised_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_sync(monkeypatch, errno.EINVAL, of_folders=False)
    with pytest.raises(OSError, match="cannot be written"), replacing(tmp_path / "file") as unfinished:
        unfinished.write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_folder_appears_as_a_whole(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "above" / "new"
    if is_there:
        folder.mkdir(parents=True)
    with new_folder(folder) as unfinished:
        (unfinished / "file").write_text("x")
        assert not (folder / "file").exists()
    assert (folder / "file").read_text() == "x" and [each.name for each in folder.parent.iterdir()] == ["new"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("no song")])
def test_nothing_is_left_of_a_new_folder_that_fails(tmp_path: Path, error: Exception) -> None:
    def write() -> None:
        with new_folder(tmp_path / "new") as unfinished:
            (unfinished / "file").write_text("x")
            raise error

    message = "new cannot be written: No space left on device" if isinstance(error, OSError) else "no song"
    with pytest.raises(type(error), match=message):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_drive_without_locks_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fail_flock(monkeypatch, number)
    with pytest.warns(UserWarning, match=r"run.*has no locks.*one at a time") as warned, locked(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()
    assert len(warned) == 1


def test_a_drive_without_flock_uses_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_flock(monkeypatch, errno.ENOSYS)
    with locked(tmp_path / "run"):  # filelock has a way of its own there
        assert (tmp_path / "run").is_dir()


def test_missing_locks_are_a_warning_with_older_filelock_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(lock: object, timeout: float) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.warns(UserWarning, match="has no locks"), locked(tmp_path / "run"):
        pass


def test_another_failure_of_a_lock_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="run cannot be locked: Input/output error"), locked(tmp_path / "run"):
        pass


def test_a_refused_process_keeps_the_holders_id(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from hf_jukebox.files.atomic import locked\n"
        f"with locked(Path({str(tmp_path)!r})): pass"
    )
    with locked(tmp_path):
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert f"is in use by process {os.getpid()}" in done.stderr


def test_nothing_is_written_through_links(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_text("mine")
    folder.mkdir()
    for name in (".file.tmp", "file", ".lock.pid"):
        (folder / name).symlink_to(outside)
    with replacing(folder / "file") as unfinished:
        unfinished.write_text("x")
    with locked(folder):
        assert (folder / ".lock.pid").read_text() == str(os.getpid())
    assert outside.read_text() == "mine" and (folder / "file").read_text() == "x"
    (folder / ".lock").unlink(missing_ok=True)  # some releases of filelock have removed it
    (folder / ".lock").symlink_to(outside)
    with pytest.raises(OSError, match=r"\.lock is a link; remove it"), locked(folder):
        pass
    assert outside.read_text() == "mine"


def test_a_run_finishes_without_locks_and_folder_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_sync(monkeypatch, errno.EINVAL, of_folders=True)
    fail_flock(monkeypatch, errno.EOPNOTSUPP)
    pipe = JukeboxPipeline.from_pretrained(DEMO_MODEL)
    with pytest.warns(UserWarning, match="has no locks"):
        pipe(levels=2, audio_length_in_s=0.1, generator=torch.Generator(), output_dir=tmp_path, output_type="latent")
    assert JukeboxRun.open(tmp_path).is_finished and (tmp_path / "level_2" / "item_0.wav").is_file()
