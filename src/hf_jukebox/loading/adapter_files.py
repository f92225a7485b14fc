"""Files of low-rank adapters in peft's format."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..files.text import first_line, listed, read_json_object, user_path

WEIGHTS_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
PEFT_PREFIX = "base_model.model."  # peft names parameters as they are called inside its own wrapper
_LAYER = re.compile(r"[\w.\\^$]+")  # only expressions that match quickly

Tensors = dict[str, torch.Tensor]


def find_adapter(source: str | os.PathLike[str], subfolder: str | None, hub: Mapping[str, Any]) -> Path:
    """Return the folder with the files of an adapter, downloaded if necessary.

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
            return local / folder
        if not local.is_dir():
            try:
                hf_hub_download(str(source), WEIGHTS_FILE, subfolder=folder or None, **hub)
                return Path(hf_hub_download(str(source), CONFIG_FILE, subfolder=folder or None, **hub)).parent
            except EntryNotFoundError:
                continue
            except (OSError, ValueError) as error:  # no such name, no such repository, no network
                raise OSError(
                    f"{source} is neither a folder nor a readable Hub repository ({first_line(error)})."
                ) from error
    tried = listed(f"{source}/{folder}" if folder else str(source) for folder in folders)
    raise FileNotFoundError(f"There is no adapter in {tried}: {CONFIG_FILE} and {WEIGHTS_FILE} are needed.")


def read_adapter(folder: Path) -> tuple[dict[str, Any], Tensors]:
    """Read the settings of an adapter, and its tensors by the names of the prior's layers.

    Raises:
        OSError: the files are damaged.
        ValueError: they do not describe a LoRA.
    """
    try:
        settings = read_json_object(folder / CONFIG_FILE)
        weights = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, ValueError, OSError) as error:
        raise OSError(f"The adapter in {folder} is damaged ({error}); copy or download it again.") from error
    alpha = settings.get("lora_alpha")
    if not isinstance(alpha, int | float) or not 0 < alpha < 1e6 or settings.get("peft_type") != "LORA":
        raise ValueError(f"{folder / CONFIG_FILE} does not describe a LoRA of peft; give the folder that peft saved.")
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(
        _LAYER.fullmatch(layer) and isinstance(value, int | float) and 0 < value < 1e6
        for layer, value in patterns.items()
    ):
        raise ValueError(f"{folder / CONFIG_FILE}: alpha_pattern must hold one number above 0 per layer.")
    return settings, {key.removeprefix(PEFT_PREFIX): value for key, value in weights.items()}
