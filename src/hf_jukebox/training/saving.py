"""Saving the model of a run in the format of `from_pretrained`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import PreTrainedModel

from ..files.atomic import sync_files
from ..modeling_prior import JukeboxPrior
from .lora import adapter_config, merged_weights, save_adapter


def save_model(model: PreTrainedModel, accelerator: Accelerator, folder: Path) -> None:
    """Write config.json and the current weights. All processes must call it; the main process writes.

    A prior with an adapter is written merged, with the adapter alone in the folder `adapter` beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    gathered = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = dict(_tensors(get_model_state_dict(model, options=gathered)))
    if not accelerator.is_main_process:
        return
    adapter = adapter_config(model)
    if adapter is not None and isinstance(model, JukeboxPrior):
        save_adapter(model, weights, folder / "adapter")
        weights = merged_weights(weights, adapter)
    model.save_pretrained(folder, state_dict=weights)


def _tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in state.items() if isinstance(value, torch.Tensor))


def save_finished(model: PreTrainedModel, accelerator: Accelerator, output_dir: Path) -> None:
    """Write the model into the output folder itself; each file is moved into place when complete.

    Raises:
        OSError: the folder cannot be written.
    """
    unfinished = output_dir / ".model.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    save_model(model, accelerator, unfinished)
    if accelerator.is_main_process:
        sync_files(unfinished)
        for path in unfinished.iterdir():
            if (output_dir / path.name).is_dir():
                shutil.rmtree(output_dir / path.name)
            os.replace(path, output_dir / path.name)
        unfinished.rmdir()
    accelerator.wait_for_everyone()
