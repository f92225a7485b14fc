"""State of a training run: collected for a checkpoint, and restored from one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict
from transformers import PreTrainedModel

from .checkpoint import Progress, Tensors, load_checkpoint, read_progress, save_checkpoint
from .ema import EMA
from .lora import check_adapter_settings
from .saving import save_model

_EMA_PREFIX = "average."  # of the EMA weights in a checkpoint


class RunState:
    """Everything in a run that changes from step to step, except the numbers of steps and examples.

    Args:
        model: Model as it is saved, not wrapped by Accelerate.
        optimizer: Optimizer, not wrapped either.
        ema: EMA of the weights; None without one.
        accelerator: Processes, and the loss scale if there is one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        ema: EMA | None,
        accelerator: Accelerator,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema = ema
        self.accelerator = accelerator

    def save(self, folder: Path, step: int, examples: int, songs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint into `folder`, OUTPUT/checkpoint-STEP. All processes must call it.

        Args:
            step, examples, songs: Fields of [`Progress`].

        Raises:
            OSError: the checkpoint cannot be written; earlier checkpoints are kept.
        """
        scaler = self.accelerator.scaler
        progress = Progress(
            step=step,
            examples=examples,
            config=self.model.config.to_diff_dict(),
            loss_scale={} if scaler is None else scaler.state_dict(),
            songs=songs or {},
        )

        def write_model(folder: Path) -> None:
            with self.averaged():
                save_model(self.model, self.accelerator, folder)

        save_checkpoint(folder, self.tensors(), _random_states(), progress, write_model)

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the EMA weights, if there are any."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def load(self, folder: Path) -> Progress:
        """Restore the state from a checkpoint, and return its progress.

        Raises:
            OSError, ValueError: the checkpoint is damaged or of another model.
        """
        progress = read_progress(folder)
        _check_config(folder, progress.config, self.model.config.to_diff_dict())
        check_adapter_settings(folder, self.model)
        tensors = self.tensors()
        random_states = load_checkpoint(folder, tensors)
        if self.ema is not None:
            ema = {name: each for name, each in tensors.items() if name.startswith(_EMA_PREFIX)}
            self.ema.load_state_dict({name.removeprefix(_EMA_PREFIX): each for name, each in ema.items()})
        if progress.loss_scale and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(progress.loss_scale)
        _restore_random_states(random_states)
        return progress

    def tensors(self) -> Tensors:
        """Return the tensors of a checkpoint by name, without copying those of the model and the optimizer."""
        options = StateDictOptions(ignore_frozen_params=True)
        state: tuple[Any, Any] = get_state_dict(self.model, self.optimizer, options=options)
        model, optimizer = state
        tied = self.model.all_tied_weights_keys
        tensors = {f"model.{name}": each for name, each in model.items() if name not in tied}
        for name, moments in optimizer["state"].items():
            tensors |= {f"optimizer.{name}.{key}": each for key, each in moments.items()}
        if self.ema is not None:
            tensors |= {f"{_EMA_PREFIX}{name}": each for name, each in self.ema.state_dict().items()}
        return tensors


def preserve_rng_state() -> Any:
    """Return a context manager that restores the RNG state on exit."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else [])


def _random_states() -> Tensors:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: Tensors) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


_LATER_SETTINGS = ("vqvae_fingerprint", "weights_license")  # that checkpoints of earlier versions lack


def _check_config(folder: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse a checkpoint of another model."""
    ignored = {"transformers_version", "dtype", "architectures", "_name_or_path"}
    ignored |= {name for name in _LATER_SETTINGS if name not in saved}
    names = sorted(name for name in (saved.keys() | now.keys()) - ignored if saved.get(name) != now.get(name))
    if names:
        name = names[0]
        raise ValueError(
            f"{folder} is of another model: its {name} is {saved.get(name)!r}, not {now.get(name)!r}"
            f"{f' (and {len(names) - 1} more settings differ)' if names[1:] else ''}; give the options that it was "
            "trained with, or another --output_dir."
        )
