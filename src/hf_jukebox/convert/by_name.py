"""Models of transformers 4 that are loaded by name: converted once, and kept beside the cache of the Hub."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import cached_assets_path

from ..files.atomic import locked, sync_folder
from ..loading.pipeline_index import INDEX
from .transformers4 import convert_models, download_transformers, read_configs

logger = logging.getLogger(__name__)

_VERSION = "v1"  # of the result; a change of the conversion makes a new one
_PLACE = ("hf_jukebox", "converted")  # among what libraries keep beside the Hub's cache
_DOWNLOADS = ("cache_dir", "token", "local_files_only", "force_download")


def converted_pipeline(source: str, snapshot: Path, options: Mapping[str, Any]) -> Path:
    """Return the folder of a pipeline that was converted from the layout of transformers 4, now or earlier.

    It is in the folder of the Hub for what libraries keep, `HF_ASSETS_CACHE`, or in `assets` in a `cache_dir`. An
    interrupted download or conversion is resumed at the next call, the latter after the last complete level. If several
    processes want the same model, one converts it and the others wait.

    Args:
        source: Folder, or name of a Hub repository.
        snapshot: Folder of its config.json: `source` itself, or that of a commit in the cache of the Hub.
        options: Arguments of `from_pretrained`; `revision` is replaced by the commit.

    Raises:
        OSError: a file cannot be downloaded, read or written.
        ValueError: the settings or weights are not those of a model that can be converted.
    """
    folder = _folder(source, snapshot, options.get("cache_dir"))
    if is_pipeline(folder):
        return folder
    read_configs(snapshot)  # before anything large is downloaded
    with locked(folder.parent, wait=True):
        if is_pipeline(folder):  # by the process that held the lock
            return folder
        is_local = Path(source).is_dir()
        logger.warning(
            "%s is in the layout of transformers 4; %s once, level by level, to %s.",
            source,
            "converting it" if is_local else "downloading and converting it",
            folder,
        )
        given = {name: options[name] for name in _DOWNLOADS if options.get(name) is not None}
        local = download_transformers(source, {} if is_local else given | {"revision": snapshot.name})
        unfinished = folder.with_name(f"{folder.name}.incomplete")
        convert_models(local, unfinished, Path(source).absolute().name if is_local else source)
        os.replace(unfinished, folder)
        sync_folder(folder.parent)
    return folder


def earlier_conversion(source: str, snapshot: Path) -> Path | None:
    """Return the folder of a conversion that is finished, without downloading or converting anything."""
    folder = _folder(source, snapshot, None)
    return folder if is_pipeline(folder) else None


def is_cached_conversion(folder: str) -> bool:
    """Return whether a folder is one that `converted_pipeline` returned."""
    return Path(folder).parent.parent.parts[-2:] == _PLACE


def is_pipeline(folder: Path) -> bool:
    """Return whether a folder holds an index of a pipeline, which is written last."""
    return (folder / INDEX).is_file()


def _folder(source: str, snapshot: Path, cache_dir: str | os.PathLike[str] | None) -> Path:
    if Path(source).is_dir():
        files = [path for pattern in ("*.json", "*.bin", "*.safetensors") for path in snapshot.glob(pattern)]
        state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files)]
        key = hashlib.sha256(json.dumps([str(snapshot.resolve()), state]).encode()).hexdigest()[:40]
        name = f"folder--{snapshot.resolve().name}"
    else:
        key, name = snapshot.name, f"models--{source.replace('/', '--')}"
    assets = None if cache_dir is None else Path(cache_dir) / "assets"
    return cached_assets_path(*_PLACE, name, assets_dir=assets) / f"{key}-{_VERSION}"
