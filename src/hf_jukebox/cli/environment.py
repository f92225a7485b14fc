"""The command env: versions, devices, free memory and model, in one block to paste into a report."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from .. import DEMO_MODEL, __version__
from ..console.lines import write_line
from ..console.quiet import hush_libraries
from ..files.text import user_path
from .checks import check_model
from .terminal import command_errors

_LIBRARIES = (
    "torch",
    "transformers",
    "diffusers",
    "accelerate",
    "huggingface_hub",
    "safetensors",
    "numpy",
    "soundfile",
    "soxr",
    "peft",
    "datasets",
    "torchao",
)


def env(
    model: Annotated[
        str | None, typer.Option(help="Folder of the model in question; the demo model by default.")
    ] = None,
) -> None:
    """Print versions, devices, free memory and the model's fingerprints, to paste into a report."""
    with command_errors():
        check_model(model)
        hush_libraries()
        for line in (*_versions(), *_devices(), *_model(model)):
            write_line(line)


def _versions() -> Iterator[str]:
    yield f"hf_jukebox {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _devices() -> Iterator[str]:
    import torch

    from ..memory.batch_size import free_bytes

    free = _gigabytes(free_bytes(torch.device("cpu")))
    compiler = "a C++ compiler" if shutil.which("g++") or shutil.which("clang++") else "no C++ compiler"
    yield f"cpu: {os.cpu_count()} cores, {torch.get_num_threads()} threads, {free} free, {compiler}"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    for index in range(torch.accelerator.device_count() if accelerator is not None else 0):
        device = torch.device(accelerator.type, index) if accelerator is not None else torch.device("cpu")
        name, memory = device.type, f"{_gigabytes(free_bytes(device))} free"
        if device.type == "cuda":
            properties = torch.cuda.get_device_properties(index)
            name = f"{properties.name} (CUDA {torch.version.cuda})"
            memory += f" of {_gigabytes(properties.total_memory)}"
        yield f"{device}: {name}, {memory}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _model(model: str | None) -> Iterator[str]:
    from ..runs.model_source import folder_fingerprints

    folder = Path(DEMO_MODEL) if model is None else user_path(model)
    if not folder.is_dir():
        yield f"model: {model}, a repository of the Hub"
        return
    parts = ", ".join(f"{name} {fingerprint}" for name, fingerprint in folder_fingerprints(folder).items())
    yield f"model: {'the demo model' if model is None else model}: {parts}"
