"""Writing files that are never seen half-written, and the lock that keeps a folder to one process."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from .audio import to_pcm

_LOCK, _PID = ".lock", ".lock.pid"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write under; at the end the file takes the place of `path` in one step, and is on the disk.

    Raises:
        OSError: the file cannot be written; an older one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        _sync(unfinished)
        os.replace(unfinished, path)
        if hasattr(os, "O_DIRECTORY"):  # on Windows a folder cannot be synchronised
            _sync(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors and what is to be known about them as one safetensors file."""
    with replacing(path) as unfinished:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        try:
            save_file(contiguous, unfinished, {key: str(value) for key, value in metadata.items()})
        except SafetensorError as error:  # a full disk, mostly
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file, and its metadata.

    Raises:
        ValueError: the file is damaged.
    """
    # Read at once: safe_open opens a file by its name twice, and the file may be replaced in between.
    content = path.read_bytes()
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or cut short ({error}); put back a copy of it, or remove it to draw its part anew."
        ) from error
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return tensors, header.get("__metadata__", {})


def write_wav(path: Path, blocks: Iterable[np.ndarray], sampling_rate: int) -> None:
    """Write blocks `[t]` of float samples as one 16-bit wav file, holding no more than a block in memory."""
    with replacing(path) as unfinished, wave.open(str(unfinished), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        for block in blocks:
            file.writeframes(to_pcm(block).astype("<i2").tobytes())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to this process; the system frees it when the process ends, however it ends.

    Raises:
        OSError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OSError(f"{folder} is being worked on by {_holder(folder)}; wait until it is done.") from error
    try:
        (folder / _PID).write_text(str(os.getpid()))
        yield
    finally:
        (folder / _PID).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        return f"process {int((folder / _PID).read_text())}"
    except (OSError, ValueError):  # it has just begun, or just ended
        return "another process"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
