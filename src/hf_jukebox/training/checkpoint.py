"""Checkpoints: everything that an exact resume needs, written atomically.

A checkpoint is a folder OUTPUT/checkpoint-STEP: the model as `save_pretrained` writes it, with the EMA weights, and
`training_state/`, the tensors of the run. These are in safetensors files, one per process, and any number of processes
can read them, however the model is sharded. Nothing in a checkpoint is pickled.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ..files.atomic import sync_files, sync_folder
from ..files.text import listed, read_json_object

STATE_FOLDER = "training_state"
_PROGRESS = "progress.json"
_MOST_STEPS = 2**53
# Raised by torch for malformed headers.
_MALFORMED = (KeyError, IndexError, TypeError, AttributeError, RuntimeError, AssertionError, json.JSONDecodeError)
_NAME = re.compile(r"checkpoint-(\d+)")

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: Optimizer steps taken.
        examples: Examples consumed by all processes together.
        config: Config of the model.
        loss_scale: State of the fp16 loss scale; empty without one.
        songs: Fields of the [`SongList`] that it is trained on; empty if they are unknown.
    """

    step: int
    examples: int
    config: dict[str, Any]
    loss_scale: dict[str, Any]
    songs: dict[str, Any] = field(default_factory=dict)


def checkpoint_folder(output_dir: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return output_dir / f"checkpoint-{step}"


def list_checkpoints(output_dir: Path) -> list[Path]:
    """List the complete checkpoints, oldest first."""
    found = [(int(match[1]), path) for path in output_dir.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found) if is_complete(path)]


def is_complete(folder: Path) -> bool:
    """Return True for a folder that holds a complete checkpoint."""
    return (folder / STATE_FOLDER / _PROGRESS).is_file()


def find_checkpoint(output_dir: Path, wanted: str) -> Path | None:
    """Return the checkpoint that `--resume_from_checkpoint` names; None for the latest if there is none yet.

    Raises:
        FileNotFoundError: the folder is not a complete checkpoint.
    """
    if wanted == "latest":
        return next(reversed(list_checkpoints(output_dir)), None)
    folder = Path(wanted) if Path(wanted).is_dir() else output_dir / wanted
    if not is_complete(folder):
        complete = ", ".join(path.name for path in list_checkpoints(output_dir)) or "none"
        raise FileNotFoundError(
            f"{wanted} is not a complete checkpoint; choose one of those in {output_dir}: {complete}."
        )
    return folder


def check_output_dir(output_dir: Path, wanted: str | None, overwrite: bool) -> None:
    """Refuse to start a new run that would replace the result of another one.

    Args:
        wanted: Checkpoint to resume from, as in `find_checkpoint`; None to start over.
        overwrite: Allow replacing.

    Raises:
        FileExistsError: the folder holds a finished model or checkpoints.
        FileNotFoundError: the checkpoint to resume from is not complete.
    """
    checkpoints = [path.name for path in list_checkpoints(output_dir)]
    if wanted is not None and find_checkpoint(output_dir, wanted) is not None:
        return
    found = listed([*(["a finished model"] if (output_dir / "config.json").is_file() else []), *checkpoints[-1:]])
    if found and not overwrite:
        how = "resume it with --resume_from_checkpoint latest" if checkpoints else "it has no checkpoint to resume from"
        raise FileExistsError(
            f"{output_dir} holds {found} of an earlier run: {how}, name another --output_dir, or replace it with "
            "--overwrite_output_dir."
        )


def save_checkpoint(
    folder: Path, tensors: Tensors, random_states: Tensors, progress: Progress, save_model: Callable[[Path], None]
) -> None:
    """Write a checkpoint atomically. All processes must call it together.

    Args:
        folder: Folder of the checkpoint, OUTPUT/checkpoint-STEP.
        tensors: Weights, optimizer state and EMA; each process writes the shards that it holds.
        random_states: RNG states of this process.
        progress: Progress of the run.
        save_model: Function that writes the model into a folder, called by all processes.

    Raises:
        OSError: the checkpoint cannot be written; earlier checkpoints are kept.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    state = unfinished / STATE_FOLDER
    rank = dist.get_rank() if dist.is_initialized() else 0

    def write() -> None:
        _save_tensors(state, tensors)
        save_file(random_states, state / f"random-{rank:05d}.safetensors")
        if rank == 0:
            (state / _PROGRESS).write_text(json.dumps(asdict(progress), indent=1) + "\n", encoding="utf-8")

    try:
        _together(lambda: _make_empty(state, unfinished) if rank == 0 else None)
        _together(write)
        _together(lambda: save_model(unfinished))
        _together(lambda: _move(unfinished, folder) if rank == 0 else None)
    except OSError as error:
        if rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
        last = list_checkpoints(folder.parent)
        kept = f"{last[-1].name} is kept" if last else "there is no earlier checkpoint"
        raise OSError(
            f"{folder} could not be written ({error.strerror or error}); {kept}. Free disk space, then resume "
            "with --resume_from_checkpoint latest."
        ) from error


def read_progress(folder: Path) -> Progress:
    """Read the progress of the run that wrote a checkpoint.

    Raises:
        ValueError: the file is damaged, or of an unknown format.
    """
    path = folder / STATE_FOLDER / _PROGRESS
    try:
        progress = Progress(**read_json_object(path))
        for name, count in (("step", progress.step), ("examples", progress.examples)):
            if type(count) is not int or not 0 <= count < _MOST_STEPS:
                raise ValueError(f"its {name} is {repr(count)[:80]}")
        if not isinstance(progress.config, dict) or not isinstance(progress.loss_scale, dict):
            raise ValueError("its config and its loss_scale should be JSON objects")
        return progress
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); resume from another checkpoint.") from error


def load_checkpoint(folder: Path, tensors: Tensors) -> Tensors:
    """Fill `tensors` from a checkpoint, in place, and return the RNG states of this process (or none).

    Raises:
        OSError, ValueError: a file is damaged, or tensors are missing or of another shape.
    """
    state = folder / STATE_FOLDER
    rank = dist.get_rank() if dist.is_initialized() else 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "assuming a single process"
            reader = HuggingFaceStorageReader(str(state))
            _check_names(tensors, reader, folder)
            load(dict(tensors), storage_reader=reader, no_dist=not dist.is_initialized())
        path = state / f"random-{rank:05d}.safetensors"
        return load_file(path) if path.is_file() else {}
    except (CheckpointException, SafetensorError, *_MALFORMED) as error:
        raise OSError(f"{folder} is damaged ({_reason(error)}); resume from another checkpoint.") from error


def remove_old_checkpoints(output_dir: Path, limit: int | None, kept: Collection[Path] = ()) -> None:
    """Keep the newest `limit` checkpoints, and those of `kept`."""
    for path in list_checkpoints(output_dir)[: -limit if limit else 0]:
        if path not in kept:
            shutil.rmtree(path)


def _save_tensors(state: Path, tensors: Tensors) -> None:
    writer = HuggingFaceStorageWriter(str(state), save_distributed=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            save(dict(tensors), storage_writer=writer, no_dist=not dist.is_initialized())
    except CheckpointException as error:
        raise OSError(_reason(error)) from error
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _check_names(tensors: Tensors, reader: HuggingFaceStorageReader, folder: Path) -> None:
    stored = reader.read_metadata().state_dict_metadata
    faults = [name for name, each in tensors.items() if getattr(stored.get(name), "size", None) != each.shape]
    if faults:
        raise ValueError(
            f"{folder} does not fit this run, because tensors are missing or of another shape ({listed(faults, 5)}); "
            "train with the options of the run that wrote it, or into another --output_dir."
        )


def _together(action: Callable[[], None]) -> None:
    """Run an action on all processes, and fail on all if it fails on one, so that no process hangs waiting."""
    failure = ""
    try:
        action()
    except OSError as error:
        failure = error.strerror or str(error)
    failures = [failure]
    if dist.is_initialized():
        failures = [""] * dist.get_world_size()
        dist.all_gather_object(failures, failure)
    if any(failures):
        raise OSError(errno.EIO, next(filter(None, failures)))


def _make_empty(state: Path, unfinished: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    state.mkdir(parents=True)


def _move(unfinished: Path, folder: Path) -> None:
    sync_files(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)
    sync_folder(folder.parent)


def _reason(error: BaseException) -> str:
    """Return the first cause inside an error of torch's checkpoints, in one line."""
    failures = getattr(error, "failures", None)
    if failures:
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
    return " ".join(str(getattr(error, "strerror", None) or error).split())
