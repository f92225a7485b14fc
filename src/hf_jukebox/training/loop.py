"""Training loop of the VQ-VAE and the priors, on one process or several, sharded or not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..allocator import keep_freed_memory
from ..sharing.cards import Card
from .abandoned import remove_results, set_aside_after
from .accelerator import compile_blocks, full_tensor, unsharded
from .arguments import LoopArguments
from .card import Training, draw_history, latest_samples, training_card
from .checkpoint import checkpoint_folder, find_checkpoint, remove_old_checkpoints
from .data import TrainingData, training_loader, validation_loader
from .ema import EMA, published_decay
from .hub import CheckpointPusher, hub_name, make_repository, push_finished
from .memory_estimate import recompute_activations
from .run_state import RunState, preserve_rng_state
from .saving import save_finished
from .task import Batch, Task
from .tracking import Tracker
from .validation import mean_metrics

logger = logging.getLogger(__name__)

_LARGEST_LOSS_SCALE = 2.0**24


class Trainer:
    """Training of a model on a task.

    Args:
        model: Model with its initial weights; it is saved with its config.
        task: Objective of the training.
        data: Training and held-out examples, shared by the processes.
        arguments: Options of the loop.
        accelerator: Processes and devices.
        num_workers: Worker processes of the data loader.
        training: What the model card says of the training.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        data: TrainingData,
        arguments: LoopArguments,
        accelerator: Accelerator,
        num_workers: int = 0,
        training: Training | None = None,
    ) -> None:
        self.task = task
        self.training = training or Training(base=model.name_or_path or None)
        self.data = data
        self.arguments = arguments
        self.accelerator = accelerator
        self.num_workers = num_workers
        self.step = 0
        self.examples = 0
        self._latest: dict[str, torch.Tensor] = {}  # metrics of the latest step, on this process
        self.output_dir = Path(arguments.output_dir)
        set_seed(arguments.seed, device_specific=True)
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        if arguments.gradient_checkpointing:
            recompute_activations(model)
        self._is_compiled = compile_blocks(model, accelerator)
        self.model, self.optimizer = self._prepare(model)
        self.bare_model: PreTrainedModel = accelerator.unwrap_model(self.model)
        self.ema: EMA | None = None
        if arguments.use_ema:
            decay = published_decay(self.global_batch_size) if arguments.ema_decay is None else arguments.ema_decay
            self.ema = EMA(self.bare_model, decay, arguments.offload_ema)
        bare_optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        self.state = RunState(self.bare_model, bare_optimizer, self.ema, accelerator)
        self.tracker = Tracker(accelerator, arguments)
        self.pusher: CheckpointPusher | None = None

    @property
    def global_batch_size(self) -> int:
        """Examples per step, over all processes."""
        arguments = self.arguments
        return arguments.train_batch_size * arguments.gradient_accumulation_steps * self.accelerator.num_processes

    def train(self) -> Path:
        """Train to the end, save the finished model and return its folder.

        Raises:
            FloatingPointError: the loss is not finite.
            OSError: a checkpoint cannot be written; earlier checkpoints are kept.
        """
        self.resume()
        arguments, batches = self.arguments, self._training_batches()
        repository = None
        if arguments.push_to_hub and self.accelerator.is_main_process:
            repository = make_repository(arguments)  # before training, so that a missing token fails at once
            if arguments.hub_strategy == "every_save":
                self.pusher = CheckpointPusher(repository, self._card(repository, {}))
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
        """Take one optimizer step, and return this process's metrics, averaged over the accumulated batches."""
        accelerator, arguments = self.accelerator, self.arguments
        rate = arguments.learning_rate_at(self.step + 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        collected: list[dict[str, torch.Tensor]] = []
        for _ in range(arguments.gradient_accumulation_steps):
            inputs = self.task.prepare_inputs(next(batches), training=True)
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
            self.ema.update(self.step)
        self.step += 1
        self.examples += self.global_batch_size
        metrics = {name: torch.stack([each[name] for each in collected]).mean() for name in collected[0]}
        self._latest = metrics | {"gradient_norm": full_tensor(norm).detach()}
        return self._latest

    def validate(self) -> dict[str, float]:
        """Return and log loss and metrics over held-out examples, with the EMA weights; empty if there are none."""

        def evaluate(batch: Batch) -> dict[str, torch.Tensor]:
            output = self.model(**self.task.prepare_inputs(batch, training=False))
            return {"loss": output.loss, **self.task.metrics(output)}

        def make_filler() -> Batch:
            batch: Batch = next(iter(training_loader(self.data.train, 1)))
            return batch

        with self._evaluation_mode():
            metrics = mean_metrics(evaluate, self._validation_batches(), make_filler, self.accelerator)
        if metrics:
            self.tracker.log({f"validation/{name}": value for name, value in metrics.items()}, self.step)
        return metrics

    def sample(self) -> None:
        """Write audio sampled with the EMA weights to samples/step-STEP and to the trackers."""
        loader = validation_loader(self.data.validation, self.arguments.num_samples)
        with self._evaluation_mode():
            batch = next(iter(loader), None)
            with unsharded(self.bare_model):
                audio = {} if batch is None else self.task.sample_audio(self.bare_model, batch)
        prompts = {} if batch is None else self.task.describe_samples(batch)
        self.tracker.log_audio(audio, self.task.sampling_rate, self.step, prompts)

    def save(self) -> None:
        """Write checkpoint-STEP.

        Raises:
            FloatingPointError: the loss is not finite; earlier checkpoints are kept, here and in the next case.
            OSError: the checkpoint cannot be written.
        """
        self._reduce_finite(self._latest)
        songs = None if self.data.songs is None else asdict(self.data.songs)
        folder = checkpoint_folder(self.output_dir, self.step)
        self.state.save(folder, self.step, self.examples, songs)
        if self.accelerator.is_main_process:
            if self.pusher is not None:
                self.pusher.push(folder)
            kept = set() if self.pusher is None else self.pusher.in_use
            remove_old_checkpoints(self.output_dir, self.arguments.checkpoints_total_limit, kept)

    def resume(self) -> None:
        """Resume from the checkpoint that the arguments name, if any.

        Raises:
            OSError, ValueError: the checkpoint is missing, damaged or of another model.
        """
        wanted = self.arguments.resume_from_checkpoint
        folder = None if wanted is None else find_checkpoint(self.output_dir, wanted)
        if folder is None:
            if wanted is not None:
                logger.info("There is no checkpoint in %s yet: starting from step 0.", self.output_dir)
            elif self.arguments.overwrite_output_dir and self.accelerator.is_main_process:
                remove_results(self.output_dir)
            self._forget_after(0)
            return
        progress = self.state.load(folder)
        self.step, self.examples = progress.step, progress.examples
        logger.info("Resumed from %s.", folder)
        self._forget_after(self.step)
        if self.data.songs is not None and progress.songs:
            self.data.songs.warn_of_changes(progress.songs, folder)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _prepare(self, model: PreTrainedModel) -> tuple[Any, Any]:
        """Wrap the model for several processes, and make its optimizer."""
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

    def _forget_after(self, step: int) -> None:
        """Clear the output folder of what an earlier run, or the run to resume, made after a step."""
        self.tracker.forget_after(step)
        if self.accelerator.is_main_process:
            set_aside_after(self.output_dir, step)

    def _training_batches(self) -> Iterator[Batch]:
        skipped = self.examples // (self.arguments.train_batch_size * self.accelerator.num_processes)
        loader = training_loader(
            self.data.train,
            self.arguments.train_batch_size,
            first_batch=skipped,
            process_index=self.accelerator.process_index,
            num_processes=self.accelerator.num_processes,
            num_workers=self.num_workers,
        )
        with preserve_rng_state():  # starting a loader consumes a random number
            return iter(loader)

    def _validation_batches(self, shared: bool = True) -> Iterable[Batch]:
        """Return the examples to validate on: this process's share, or all of them."""
        return validation_loader(
            self.data.validation,
            self.arguments.train_batch_size,
            most=self.arguments.max_validation_examples,
            process_index=self.accelerator.process_index if shared else 0,
            num_processes=self.accelerator.num_processes if shared else 1,
            num_workers=self.num_workers,
        )

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Evaluate with the EMA weights; restore weights and RNG state on exit."""
        self.model.eval()
        # The shapes of validation and sampling are not worth compiling.
        uncompiled: Any = torch.compiler.set_stance("force_eager") if self._is_compiled else nullcontext()
        with self.state.averaged(), preserve_rng_state(), torch.no_grad(), uncompiled:
            yield
        self.model.train()

    def _limit_loss_scale(self) -> None:
        scaler = self.accelerator.scaler
        if scaler is not None and scaler.is_enabled():
            scale = scaler.scale(torch.ones((), device=self.accelerator.device))  # get_scale() waits for the device
            scaler.update(scale.clamp_max(_LARGEST_LOSS_SCALE))

    def _log(self, metrics: dict[str, torch.Tensor]) -> dict[str, float]:
        values = self._reduce_finite(metrics)
        values["learning_rate"] = self.arguments.learning_rate_at(self.step)
        if self.accelerator.scaler is not None:
            values["loss_scale"] = self.accelerator.scaler.get_scale()
        self.tracker.log({f"train/{name}": value for name, value in values.items()}, self.step)
        return values

    def _reduce_finite(self, metrics: dict[str, torch.Tensor]) -> dict[str, float]:
        """Average the metrics of a step over the processes, and check that it left finite weights.

        Raises:
            FloatingPointError: the loss or the gradient norm is not finite, on any process.
        """
        if not metrics:  # no step was taken
            return {}
        names = list(metrics)
        mean = self.accelerator.reduce(torch.stack([metrics[name].float() for name in names]), "mean")
        values = dict(zip(names, mean.tolist(), strict=True))
        # With a loss scale, steps whose gradients overflow are left out.
        checked = ("loss", "gradient_norm") if self.accelerator.scaler is None else ("loss",)
        for name in checked:
            if not math.isfinite(values[name]):
                raise FloatingPointError(
                    f"The {name.replace('_', ' ')} of step {self.step} is {values[name]}; resume from an earlier "
                    "checkpoint with a lower --learning_rate, or with --mixed_precision bf16 or no."
                )
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
        self._reduce_finite(self._latest)
        metrics = self.validate()
        with self._evaluation_mode():
            with unsharded(self.bare_model):
                self.task.finalize(self.bare_model, self._validation_batches(shared=False))
            save_finished(self.bare_model, self.accelerator, self.output_dir)
        self.tracker.finish()
        if self.accelerator.is_main_process:
            draw_history(self.output_dir, self.tracker.history())
            card = self._card(repository, metrics)
            (self.output_dir / "README.md").write_text(card.text(), encoding="utf-8")
            if repository is not None:
                if self.pusher is not None:
                    self.pusher.finish()
                samples = list(latest_samples(self.output_dir))
                logger.info("Uploaded to %s.", push_finished(self.output_dir, repository, card, samples))
        logger.info("The finished model is in %s.", self.output_dir)
        return self.output_dir

    def _card(self, repository: str | None, metrics: dict[str, float]) -> Card:
        name, samples = repository or hub_name(self.arguments), latest_samples(self.output_dir)
        hours = "" if self.data.hours is None else f"; {self.data.hours:.2g} hours to train on"
        data = f"{self.data.summary}{hours}"
        return training_card(
            name, self.bare_model, self.arguments, self.training, data, metrics, samples, repository=repository
        )
