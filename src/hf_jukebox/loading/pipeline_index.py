"""Checks on a model_index.json, which may name only classes of this library.

diffusers imports the libraries that the file names, and Python files in the same folder, and the source may not be
trusted.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from ..files.text import read_json_object

INDEX = "model_index.json"
_PIPELINE, _LIBRARY = "JukeboxPipeline", "hf_jukebox"
_CODE = ("custom_pipeline", "trust_remote_code", "custom_revision")
_HUB = ("cache_dir", "force_download", "proxies", "token", "local_files_only", "revision")


def check_index(
    pipeline_class: type[DiffusionPipeline],
    source: str | os.PathLike[str],
    classes: Mapping[str, str],
    options: Mapping[str, Any],
) -> None:
    """Refuse a pipeline that names classes other than ours, before diffusers imports them.

    Args:
        pipeline_class: Class that reads the index of a Hub repository.
        source: A folder or a Hub repository.
        classes: Part to the name of its class.
        options: Arguments of `from_pretrained`.

    Raises:
        OSError: there is no pipeline there.
        ValueError: the index is damaged or names other classes, or the options ask for remote code.
    """
    remote_code = [name for name in _CODE if options.get(name)]
    if remote_code:
        raise ValueError(f"{remote_code[0]} would run remote code, which this pipeline never does; leave it out.")
    folder = Path(source)
    if folder.is_dir():
        index = read_json_object(folder / INDEX)
    else:
        hub = {name: options[name] for name in _HUB if name in options}
        try:
            index = pipeline_class.load_config(str(source), **hub)
        except (RecursionError, ValueError, TypeError) as error:
            raise ValueError(f"{source} has a damaged {INDEX}: {error}.") from error
    _check(f"{source}/{INDEX}", index, classes)


def _check(where: str, index: Any, classes: Mapping[str, str]) -> None:
    if not isinstance(index, dict) or index.get("_class_name") != _PIPELINE:
        found = index.get("_class_name") if isinstance(index, dict) else index
        raise ValueError(f"{where} describes a {_short(found)}, not a {_PIPELINE}; give a pipeline of this library.")
    for name, value in index.items():
        if name.startswith("_"):
            if name == "_ignore_files" and not _are_texts(value):
                raise ValueError(f"{where}: _ignore_files must be a list of names.")
            continue
        if name not in classes:
            raise ValueError(f"{where} has a part {_short(name)}; the parts of a pipeline are {', '.join(classes)}.")
        if value not in ([_LIBRARY, classes[name]], [None, None]):
            raise ValueError(
                f"{where}: {name} must be {[_LIBRARY, classes[name]]} or absent, not {_short(value)}; classes of other "
                "libraries are never loaded."
            )
    if index.get("vqvae") != [_LIBRARY, classes["vqvae"]]:
        raise ValueError(f"{where} has no vqvae, which a pipeline needs; give a pipeline of this library.")


def _are_texts(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
