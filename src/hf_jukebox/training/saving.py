"""The model of a run as `from_pretrained` reads it."""

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

from ..modeling_prior import JukeboxPrior
from .checkpoint import sync_files
from .lora import adapter_of, merged_weights, save_adapter


def save_model(model: PreTrainedModel, accelerator: Accelerator, folder: Path) -> None:
    """Write config.json and the weights as they are now. All processes call it; the first one writes.

    A prior with an adapter is written merged, with the adapter alone in the folder `adapter` beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)  # gathers what is sharded
    weights = dict(_tensors(get_model_state_dict(model, options=whole)))
    if not accelerator.is_main_process:
        return
    adapter = adapter_of(model)
    if adapter is not None and isinstance(model, JukeboxPrior):
        save_adapter(model, weights, folder / "adapter")
        weights = merged_weights(weights, adapter)
    model.save_pretrained(folder, state_dict=weights)


def _tensors(state: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in state.items() if isinstance(value, torch.Tensor))


def save_finished(model: PreTrainedModel, accelerator: Accelerator, output_dir: Path) -> None:
    """Write the model into the output folder itself: every file appears when it is complete.

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
