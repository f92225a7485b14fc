"""The model of a run: how `request.json` records it, and how it is found again, also on another machine.

A run may come from an untrusted source, and its record names a model. Folders on this machine are loaded, which runs no
code, and so are repositories in the cache of the Hub. Nothing is downloaded unless the user names it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HF_ASSETS_CACHE, HF_HUB_CACHE

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..convert.by_name import earlier_conversion
from ..loading.sources import is_transformers4
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from .contents import RunReader
from .record import weights_fingerprint

_DEMO = Path(__file__).parents[1] / "demo" / "model"
_DEMO_MARK = "the demo model"  # cannot be the name of a repository, and is unlikely to be that of a folder
_DEMO_ENDING = ("hf_jukebox", "demo", "model")
_INDEX = "model_index.json"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def recorded_source(name_or_path: str | None) -> str | None:
    """Return the record of a model's source, by which it is found again from any working folder.

    A folder is recorded by its absolute path, the demo model by a mark, and a repository of the Hub by its name, also
    when it was loaded from the cache.
    """
    if not name_or_path:
        return None
    path = Path(name_or_path)
    if not path.is_dir():
        return name_or_path
    path = path.resolve()
    if path == _DEMO.resolve():
        return _DEMO_MARK
    in_cache = any(path.is_relative_to(Path(cache).resolve()) for cache in (HF_HUB_CACHE, HF_ASSETS_CACHE))
    if in_cache and (match := re.search(r"models--([^/\\]+)", str(path))):
        return match[1].replace("--", "/")
    return str(path)


def model_name(source: str | None) -> str:
    """Return the name of a model to show, from its record."""
    if source is None:
        return ""
    if is_demo_model(source):
        return "demo"
    return PureWindowsPath(source).name if "\\" in source else PurePosixPath(source).name


def model_of_run(run: RunReader) -> str:
    """Return the folder of the model that a run was sampled with.

    Raises:
        ValueError: it is not on this machine; the message says how to name it.
    """
    record = run.step.model
    if record.source is not None:
        for folder in _folders(record.source, run.folder):
            if os.path.isfile(folder / _INDEX) or is_transformers4(folder):  # also False for a name that is too long
                return str(folder)
        if is_demo_model(record.source):
            return str(_DEMO)
        cached = _cached(record.source)
        if cached is not None:
            return cached
    if record.parts and record.parts.items() <= demo_fingerprints().items():
        return str(_DEMO)
    if record.source is None:
        raise ValueError(
            f"{run.folder} does not say where its model is; name it with --model, or load it in Python and call "
            "resume_run."
        )
    if _REPOSITORY.fullmatch(record.source):
        raise ValueError(
            f"{run.folder} was sampled with {record.source}, which is neither a folder here nor in the cache of the "
            f"Hub; name the model with --model: a folder or, to load it from the Hub, {record.source}."
        )
    raise ValueError(
        f"{run.folder} was sampled with a model in {record.source}, which is not there; name it with --model, or load "
        "it in Python and call resume_run."
    )


def _folders(source: str, run_dir: Path) -> Iterator[Path]:
    """Yield the local folders that a record may mean; none for network shares, which are not contacted."""
    if source.startswith(("//", "\\\\")) or "\0" in source:
        return
    yield Path(source)
    if not Path(source).is_absolute():  # as recorded by older versions
        yield run_dir.parent / source
        yield run_dir / source


def is_demo_model(source: str) -> bool:
    """Return True for the record of the demo model."""
    return source == _DEMO_MARK or PureWindowsPath(source).parts[-3:] == _DEMO_ENDING


def _cached(source: str) -> str | None:
    """Return the folder of a repository in the cache of the Hub; None if it is not cached."""
    if not _REPOSITORY.fullmatch(source):
        return None
    # snapshot_download would refuse a repository of which some files were not needed.
    found = [try_to_load_from_cache(source, name) for name in (_INDEX, "config.json")]
    index, config = (Path(path).parent if isinstance(path, str) else None for path in found)
    if index is None and config is not None and is_transformers4(config):
        index = earlier_conversion(source, config)
    return None if index is None else str(index)


@cache
def demo_fingerprints() -> dict[str, str]:
    """Return the fingerprints of the parts of the demo model, from its files."""
    return folder_fingerprints(_DEMO)


def folder_fingerprints(pipeline: Path) -> dict[str, str]:
    """Return the fingerprint of every part of a pipeline's folder, from its files; no model is loaded."""
    parts = {}
    for folder in sorted(path.parent for path in pipeline.glob("*/config.json")):
        with torch.device("meta"):
            model = (
                JukeboxVQVAE(JukeboxVQVAEConfig.from_pretrained(folder))
                if folder.name == "vqvae"
                else JukeboxPrior(JukeboxPriorConfig.from_pretrained(folder))
            )
        parts[folder.name] = weights_fingerprint(model, folder)
    return parts
