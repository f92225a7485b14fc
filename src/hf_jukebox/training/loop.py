"""The training loop, for a VQ-VAE and for priors alike: on one process or many, sharded or not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradScalerKwargs, set_seed
from torch.distributed.fsdp import FSDPModule
from tqdm.auto import tqdm  # type: ignore[import-untyped]
from transformers import PreTrainedModel

from ..allocator import keep_freed_memory
from .arguments import LoopArguments
from .card import make_repository, push, write_card
from .checkpoint import checkpoint_folder, find_checkpoint, remove_checkpoints, remove_old_checkpoints
from .data import TrainingData, training_loader, validation_loader
from .ema import EMA, published_decay
from .memory_estimate import estimate_memory, recompute_activations
from .run_state import RunState, preserve_rng_state
from .saving import save_finished
from .tracking import Tracker

logger = logging.getLogger(__name__)

Batch = dict[str, Any]
_LARGEST_LOSS_SCALE = 2.0**24


class Task(Protocol):
    """What a model is trained to do; the loop knows nothing else about it."""

    @property
    def sampling_rate(self) -> int:
        """Of the audio samples."""

    def inputs(self, batch: Batch, training: bool) -> Batch:
        """What the model is called with, of a batch of the data, on the model's device."""

    def metrics(self, output: Any) -> dict[str, torch.Tensor]:
        """What to log of the model's output besides `loss`: scalars."""

    def samples(self, model: PreTrainedModel, batch: Batch) -> dict[str, np.ndarray]:
        """Audio `[T]` by name, to hear how far training has come; `batch` is of the held-out data."""

    def finalize(self, model: PreTrainedModel, batches: Iterable[Batch]) -> None:
        """Note in the config of the trained model what is to be found out about it, on held-out batches."""


def make_accelerator(arguments: LoopArguments) -> Accelerator:
    """The processes, devices and precision of a run, as `accelerate launch` and the arguments say."""
    AcceleratorState._reset_state()  # one process may train several models, each in a precision of its own
    return Accelerator(
        mixed_precision=arguments.mixed_precision,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=None if arguments.report_to == "none" else arguments.report_to.split(","),
        project_dir=arguments.output_dir,
        # As published: from 2^16, halved by an overflow, at most 2^24.
        kwargs_handlers=[GradScalerKwargs(init_scale=2.0**16, growth_interval=1000)],
    )


def log_memory(config: Any, arguments: LoopArguments, accelerator: Accelerator, **details: Any) -> None:
    """Say how much memory a step will take, before any of it is taken; for `details` see [`estimate_memory`]."""
    if not accelerator.is_main_process:
        return
    estimate = estimate_memory(
        config,
        replace(arguments, mixed_precision=accelerator.mixed_precision),
        num_processes=accelerator.num_processes,
        sharded=accelerator.is_fsdp2,
        **details,
    )
    logger.info("A step takes %s.", estimate)


class Trainer:
    """Trains a model on a task.

    Args:
        model: With its first weights; its config is what it is saved with.
        task: What it is trained to do.
        data: Examples to train on, and held-out ones. The processes share them.
        arguments: How to train.
        accelerator: The processes and devices.
        num_workers: Processes that read ahead.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        data: TrainingData,
        arguments: LoopArguments,
        accelerator: Accelerator,
        num_workers: int = 0,
    ) -> None:
        self.task = task
        self.data = data
        self.arguments = arguments
        self.accelerator = accelerator
        self.num_workers = num_workers
        self.step = 0
        self.examples = 0
        self.output_dir = Path(arguments.output_dir)
        set_seed(arguments.seed, device_specific=True)
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        if arguments.gradient_checkpointing:
            recompute_activations(model)
        self.model, self.optimizer = self._prepare(model)
        self.bare_model: PreTrainedModel = accelerator.unwrap_model(self.model)
        self.ema: EMA | None = None
        if arguments.use_ema:
            decay = published_decay(self.global_batch_size) if arguments.ema_decay is None else arguments.ema_decay
            self.ema = EMA(self.bare_model, decay, arguments.offload_ema)
        bare_optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        self.state = RunState(self.bare_model, bare_optimizer, self.ema, accelerator)
        self.tracker = Tracker(accelerator, arguments)

    @property
    def global_batch_size(self) -> int:
        """Examples a step, over all processes."""
        arguments = self.arguments
        return arguments.train_batch_size * arguments.gradient_accumulation_steps * self.accelerator.num_processes

    def train(self) -> Path:
        """Train to the end, and save the finished model in the output folder, which is given back.

        Raises:
            FloatingPointError: the loss is no longer a number.
            OSError: a checkpoint could not be written; the one before it is still there.
        """
        self.resume()
        arguments, batches = self.arguments, self._training_batches()
        repository = None
        if arguments.push_to_hub and self.accelerator.is_main_process:
            repository = make_repository(arguments)  # now, not after days: it fails without a token
        self.model.train()
        with self._progress_bar() as bar:
            while self.step < arguments.max_train_steps:
                metrics = self.train_step(batches)
                bar.update()
                if self.step % arguments.logging_steps == 0:
                    bar.set_postfix(loss=f"{self._log(metrics)['loss']:.4g}")
                if self.step % arguments.validation_steps == 0:
                    self.validate()
                if arguments.sample_steps and self.step % arguments.sample_steps == 0:
                    self.sample()
                if self.step % arguments.checkpointing_steps == 0:
                    self.save()
        return self._finish(repository)

    def train_step(self, batches: Iterator[Batch]) -> dict[str, torch.Tensor]:
        """One step of the optimizer; its figures, of this process, averaged over the accumulated batches."""
        accelerator, arguments = self.accelerator, self.arguments
        rate = arguments.learning_rate_at(self.step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        collected: list[dict[str, torch.Tensor]] = []
        for _ in range(arguments.gradient_accumulation_steps):
            inputs = self.task.inputs(next(batches), training=True)
            with accelerator.accumulate(self.model):
                output = self.model(**inputs)
                accelerator.backward(output.loss)
                collected.append({"loss": output.loss.detach(), **self.task.metrics(output)})
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), arguments.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self._limit_loss_scale()
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.examples += self.global_batch_size
        metrics = {name: torch.stack([each[name] for each in collected]).mean() for name in collected[0]}
        return metrics | {"gradient_norm": _whole(norm).detach()}

    def validate(self) -> dict[str, float]:
        """Loss and figures over held-out batches, with the averaged weights; also logged."""
        totals: dict[str, torch.Tensor] = {}
        with self._evaluation_mode():
            for batch in islice(self._validation_batches(), self.arguments.max_validation_batches):
                output = self.model(**self.task.inputs(batch, training=False))
                for name, figure in {"loss": output.loss, **self.task.metrics(output)}.items():
                    totals[name] = totals.get(name, torch.zeros_like(figure)) + figure
                totals["batches"] = totals.get("batches", torch.zeros_like(output.loss)) + 1
        if not totals:
            return {}
        summed = {name: self.accelerator.reduce(total, "sum").item() for name, total in totals.items()}
        batches = summed.pop("batches")
        metrics = {name: total / batches for name, total in summed.items()}
        self.tracker.log({f"validation/{name}": figure for name, figure in metrics.items()}, self.step)
        return metrics

    def sample(self) -> None:
        """Audio with the averaged weights, written to samples/step-STEP and to the trackers."""
        loader = validation_loader(self.data.validation, self.arguments.num_samples)
        with self._evaluation_mode():
            batch = next(iter(loader), None)
            with _unsharded(self.bare_model):
                audio = {} if batch is None else self.task.samples(self.bare_model, batch)
        self.tracker.log_audio(audio, self.task.sampling_rate, self.step)

    def save(self) -> None:
        """Write checkpoint-STEP.

        Raises:
            OSError: it could not be written; the checkpoints that were there still are.
        """
        songs = None if self.data.songs is None else asdict(self.data.songs)
        self.state.save(checkpoint_folder(self.output_dir, self.step), self.step, self.examples, songs)
        if self.accelerator.is_main_process:
            remove_old_checkpoints(self.output_dir, self.arguments.checkpoints_total_limit)

    def resume(self) -> None:
        """Go on from the checkpoint that the arguments name, if they do.

        Raises:
            OSError, ValueError: it is missing, damaged or of another model.
        """
        wanted = self.arguments.resume_from_checkpoint
        folder = None if wanted is None else find_checkpoint(self.output_dir, wanted)
        if folder is None:
            if wanted is not None:
                logger.info("There is no checkpoint in %s yet: training starts anew.", self.output_dir)
            elif self.arguments.overwrite_output_dir and self.accelerator.is_main_process:
                remove_checkpoints(self.output_dir)  # of the run that is trained over: `latest` must not find them
            return
        progress = self.state.load(folder)
        self.step, self.examples = progress.step, progress.examples
        logger.info("Resumed from %s.", folder)
        if self.data.songs is not None and progress.songs:
            self.data.songs.warn_of_changes(progress.songs, folder)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _prepare(self, model: PreTrainedModel) -> tuple[Any, Any]:
        """The model as the processes share it, and its optimizer."""
        return self.accelerator.prepare(model, self._make_optimizer(model))

    def _make_optimizer(self, model: PreTrainedModel) -> torch.optim.Optimizer:
        arguments = self.arguments
        return torch.optim.AdamW(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=arguments.learning_rate,
            betas=(arguments.adam_beta1, arguments.adam_beta2),
            eps=arguments.adam_epsilon,
            weight_decay=arguments.adam_weight_decay,
            fused=True,
        )

    def _training_batches(self) -> Iterator[Batch]:
        taken = self.examples // (self.arguments.train_batch_size * self.accelerator.num_processes)
        loader = training_loader(
            self.data.train,
            self.arguments.train_batch_size,
            first_batch=taken,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            num_workers=self.num_workers,
        )
        with preserve_rng_state():  # a loader draws one when it begins
            return iter(loader)

    def _validation_batches(self) -> Iterable[Batch]:
        return validation_loader(
            self.data.validation,
            self.arguments.train_batch_size,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            num_workers=self.num_workers,
        )

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Within, the model has its averaged weights and does not learn; training goes on as if nothing had been."""
        self.model.eval()
        with self._averaged_weights(), preserve_rng_state(), torch.no_grad():
            yield
        self.model.train()

    def _averaged_weights(self) -> Any:
        return nullcontext() if self.ema is None else self.ema.applied()

    def _limit_loss_scale(self) -> None:
        scaler = self.accelerator.scaler
        if scaler is not None and scaler.get_scale() > _LARGEST_LOSS_SCALE:
            scaler.update(_LARGEST_LOSS_SCALE)

    def _log(self, metrics: dict[str, torch.Tensor]) -> dict[str, float]:
        names = list(metrics)
        mean = self.accelerator.reduce(torch.stack([metrics[name].float() for name in names]), "mean")
        values = dict(zip(names, mean.tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"The loss of step {self.step} is {values['loss']}; go on from an earlier checkpoint with a lower "
                "--learning_rate, or with --mixed_precision bf16 or no."
            )
        values["learning_rate"] = self.arguments.learning_rate_at(self.step)
        if self.accelerator.scaler is not None:
            values["loss_scale"] = self.accelerator.scaler.get_scale()
        self.tracker.log({f"train/{name}": value for name, value in values.items()}, self.step)
        return values

    def _progress_bar(self) -> Any:
        return tqdm(
            total=self.arguments.max_train_steps,
            initial=self.step,
            desc="training",
            unit=" steps",
            disable=not self.accelerator.is_local_main_process,
        )

    def _finish(self, repository: str | None) -> Path:
        metrics, arguments = self.validate(), self.arguments
        with self._evaluation_mode():
            with _unsharded(self.bare_model):
                self.task.finalize(
                    self.bare_model, islice(self._validation_batches(), arguments.max_validation_batches)
                )
            save_finished(self.bare_model, self.accelerator, self.output_dir)
        self.tracker.finish()
        if self.accelerator.is_main_process:
            write_card(self.output_dir, self.bare_model, arguments, self.data.summary, metrics, repository)
            if repository is not None:
                logger.info("Sent to %s.", push(self.output_dir, repository))
        logger.info("The finished model is in %s.", self.output_dir)
        return self.output_dir


@contextmanager
def _unsharded(model: PreTrainedModel) -> Iterator[None]:
    """Within, every process has the whole of a sharded model, so that methods other than `forward` work."""
    shards: list[Any] = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)  # else a block is parted again after its first pass
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.set_reshard_after_forward(module is not model, recurse=False)
            module.reshard()


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded scalar, such as a gradient norm, as a plain one."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
