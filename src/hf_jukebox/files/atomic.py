"""Atomic file writes, and a lock that gives one process exclusive use of a folder."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK, _PID = ".lock", ".lock.pid"
_CANNOT_SYNC_FOLDERS = {
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EACCES,
    errno.EPERM,
    errno.EBADF,
    errno.EISDIR,
    errno.ENOTTY,
}
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EROFS, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
_CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that atomically replaces `path` and is flushed to disk.

    Raises:
        OSError: the file cannot be written; an older one is unchanged.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)  # never write through a link of that name
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with suppress(OSError):  # the first error has been raised already
            unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that gets its name at the end, flushed to disk.

    The folder must be new, or empty. If anything fails, nothing is left.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with _naming(folder):
            unfinished.mkdir(parents=True)
        try:
            yield unfinished
        except OSError as error:
            if error.errno in _DISK_FULL:  # others may be of files that are read
                raise _not_written(folder, error) from error
            raise
        with _naming(folder):
            sync_files(unfinished)
            if folder.is_dir():
                folder.rmdir()  # it is empty; not every system renames over a folder
            os.rename(unfinished, folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name what cannot be written in errors of the system."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> OSError:
    return type(error)(f"{path} cannot be written: {error.strerror or error}.")


class FolderInUseError(OSError):
    """Error for a folder that another process has locked."""


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder for this process; the system releases the lock when the process ends, however it ends.

    Args:
        wait: Wait for another process that holds the lock, in place of the error.

    Raises:
        FolderInUseError: another process holds the lock.
        OSError: the folder cannot be locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _LOCK).is_symlink():
        raise OSError(f"{folder / _LOCK} is a link; remove it, since the lock of a folder must be a file in it.")
    lock = FileLock(folder / _LOCK)
    _acquire(lock, folder, wait)
    try:
        _write_holder(folder)
        yield
    finally:
        (folder / _PID).unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path, wait: bool) -> None:
    """Acquire a lock; on a file system without locks, warn and continue without it."""
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise FolderInUseError(f"{folder} is in use by {_holder(folder)}; wait until it ends.") from error
    except (OSError, NotImplementedError) as error:  # older releases of filelock raise the latter for ENOSYS
        if isinstance(error, OSError) and error.errno not in _CANNOT_LOCK:
            raise OSError(f"{folder} cannot be locked: {error.strerror or error}.") from error
        warnings.warn(
            f"The file system of {folder} has no locks, so a second command could change the same files; run one at a "
            "time.",
            stacklevel=1,
        )


def _write_holder(folder: Path) -> None:
    path = folder / _PID
    path.unlink(missing_ok=True)
    with path.open("x") as file:  # fails on a link instead of following it
        file.write(str(os.getpid()))


def _holder(folder: Path) -> str:
    try:
        return f"process {int((folder / _PID).read_text())}"
    except (OSError, ValueError):  # the process has just started, or just ended
        return "another process"


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if the system and the file system support it.

    Raises:
        OSError: the disk fails.
    """
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise


def sync_files(folder: Path) -> None:
    """Flush the files in a folder and below to disk, before the folder gets its final name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
