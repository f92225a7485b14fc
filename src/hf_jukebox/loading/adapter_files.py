"""Files of low-rank adapters: peft's format, and the names that an adapter was trained with."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..files.text import first_line, listed, read_json_object, user_path

WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
DETAILS_FILE = "jukebox_adapter.json"
PEFT_PREFIX = "base_model.model."  # peft names parameters as they are called inside its own wrapper
LABEL_TABLES = "label_embedding"
TABLE_OF = {"artists": f"{LABEL_TABLES}.artist.weight", "genres": f"{LABEL_TABLES}.genre.weight"}
_LAYER = re.compile(r"[\w.\\^$]+")  # only expressions that match quickly
_COMMIT = re.compile(r"snapshots[/\\]([0-9a-f]{40})(?:[/\\]|$)")
_MOST_LEVELS = 32

Tensors = dict[str, torch.Tensor]
Names = dict[str, dict[str, int]]
"""`"artists"` and `"genres"`, each name to row."""


@dataclass(frozen=True)
class AdapterSource:
    """The place of an adapter, by which a run finds it again.

    Attributes:
        source: Folder, as an absolute path, or Hub repository.
        subfolder: Folder in it.
        revision: Commit of the repository; None for a folder.
        fingerprint: Hash of its weights.
    """

    source: str
    subfolder: str
    revision: str | None
    fingerprint: str


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter as it is stored.

    Attributes:
        place: Its place.
        settings: Content of peft's adapter_config.json.
        matrices: Low-rank matrices by peft's names, without the prefix.
        tables: Label tables `[rows, width]` that were trained with it, by the names of the prior's parameters.
        level: Level of the prior that it was trained on; None if it is not stated.
        names: Names that it was trained with and its prior lacks, with their rows in `tables`.
    """

    place: AdapterSource
    settings: dict[str, Any]
    matrices: Tensors
    tables: Tensors
    level: int | None
    names: Names


def find_adapter(
    source: str | os.PathLike[str], subfolder: str | None, hub: Mapping[str, Any]
) -> tuple[Path, str, str | None]:
    """Return the folder with the files of an adapter, downloaded if necessary, its subfolder in `source` and commit.

    Args:
        source: Folder or Hub repository.
        subfolder: Folder in `source`; by default `source` itself or its folder `adapter`.
        hub: Arguments of `hf_hub_download`.

    Raises:
        OSError: there is no adapter there.
    """
    folders = ["", "adapter"] if subfolder is None else [subfolder]
    local = user_path(source)
    for folder in folders:
        if (local / folder / CONFIG_FILE).is_file() and (local / folder / WEIGHTS_FILE).is_file():
            return local / folder, folder, None
        if not local.is_dir():
            try:
                return _download(str(source), folder, hub)
            except EntryNotFoundError:
                continue
            except (OSError, ValueError) as error:  # no such name, no such repository, no network
                raise OSError(
                    f"{source} is neither a folder nor a readable Hub repository ({first_line(error)})."
                ) from error
    tried = listed(f"{source}/{folder}" if folder else str(source) for folder in folders)
    raise FileNotFoundError(f"There is no adapter in {tried}: {CONFIG_FILE} and {WEIGHTS_FILE} are needed.")


def _download(repository: str, folder: str, hub: Mapping[str, Any]) -> tuple[Path, str, str | None]:
    place: dict[str, Any] = {"subfolder": folder or None, **hub}
    path = Path(hf_hub_download(repository, WEIGHTS_FILE, **place))
    hf_hub_download(repository, CONFIG_FILE, **place)
    with suppress(EntryNotFoundError):  # an adapter that this library has not trained
        hf_hub_download(repository, DETAILS_FILE, **place)
    commit = _COMMIT.search(str(path))
    return path.parent, folder, commit[1] if commit else None


def checked_scale(scale: Any) -> float:
    """Return the strength of an adapter as a number.

    Raises:
        ValueError: it is not a finite number.
    """
    try:
        if not isinstance(scale, bool | str | bytes) and math.isfinite(number := float(scale)):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"The strength of an adapter must be a finite number, not {scale!r}.")


def read_adapter(
    source: str | os.PathLike[str], subfolder: str | None = None, hub: Mapping[str, Any] | None = None
) -> AdapterFiles:
    """Read an adapter from a folder or the Hub; for the arguments and errors see `find_adapter`.

    A subfolder of a repository may also be named as in `"owner/name/subfolder"`.

    Raises:
        OSError: there is none, or its files are damaged.
        ValueError: they do not describe a LoRA.
    """
    parts = str(source).split("/")
    if subfolder is None and not user_path(source).is_dir() and len(parts) > 2:  # OWNER/NAME/SUBFOLDER
        source, subfolder = "/".join(parts[:2]), "/".join(parts[2:])
    folder, subfolder, commit = find_adapter(source, subfolder, hub or {})
    try:
        settings = read_json_object(folder / CONFIG_FILE)
        stored = load_file(folder / WEIGHTS_FILE)
        details = read_json_object(folder / DETAILS_FILE) if (folder / DETAILS_FILE).is_file() else {}
        with (folder / WEIGHTS_FILE).open("rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except (SafetensorError, ValueError, OSError) as error:
        raise OSError(f"The adapter in {folder} is damaged ({error}); copy or download it again.") from error
    _check_settings(settings, folder)
    weights = {key.removeprefix(PEFT_PREFIX): value for key, value in stored.items()}
    for key, value in weights.items():
        if not value.isfinite().all():
            raise ValueError(f"The adapter {source} holds numbers in {key} that are not finite.")
    tables = {key: value for key, value in weights.items() if key.startswith(f"{LABEL_TABLES}.")}
    level, names = _read_details(details, tables, folder)
    local = user_path(source)
    name = str(local.resolve()) if local.is_dir() else str(source)
    return AdapterFiles(
        AdapterSource(name, subfolder, commit, fingerprint),
        settings,
        {key: value for key, value in weights.items() if key not in tables},
        tables,
        level,
        names,
    )


def new_names(own: Mapping[str, dict[str, int] | None], now: Mapping[str, dict[str, int] | None]) -> Names:
    """Return the names of `now` that have another row, or none, in `own`."""
    return {
        kind: {name: row for name, row in (now[kind] or {}).items() if (own[kind] or {}).get(name) != row}
        for kind in TABLE_OF
    }


def write_details(folder: Path, level: int, names: Names, weights_license: str | None = None) -> None:
    """Write the file that says which level an adapter is for, and which names it brings."""
    details = {"level": level, **names, "weights_license": weights_license}
    (folder / DETAILS_FILE).write_text(json.dumps(details, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _check_settings(settings: dict[str, Any], folder: Path) -> None:
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < 1e6 or settings.get("peft_type") != "LORA":
        raise ValueError(f"{folder / CONFIG_FILE} does not describe a LoRA of peft; give the folder that peft saved.")
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(
        _LAYER.fullmatch(layer) and isinstance(value, int | float) and 0 < value < 1e6
        for layer, value in patterns.items()
    ):
        raise ValueError(f"{folder / CONFIG_FILE}: alpha_pattern must hold one number above 0 per layer.")


def _read_details(details: dict[str, Any], tables: Tensors, folder: Path) -> tuple[int | None, Names]:
    """Return the level and the names of an adapter.

    Raises:
        ValueError: one of them is impossible.
    """
    path, level = folder / DETAILS_FILE, details.get("level")
    if level is not None and (type(level) is not int or not 0 <= level < _MOST_LEVELS):
        raise ValueError(f"{path}: level must be a number from 0, not {repr(level)[:80]}.")
    names: Names = {}
    for kind, key in TABLE_OF.items():
        table = details.get(kind) or {}
        rows = tables[key].shape[0] if key in tables and tables[key].ndim == 2 else 0
        if not isinstance(table, dict) or not all(type(row) is int and 0 < row < rows for row in table.values()):
            raise ValueError(f"{path}: {kind} must hold a row of the label table, from 1 to {rows - 1}, per name.")
        names[kind] = table
    return level, names
