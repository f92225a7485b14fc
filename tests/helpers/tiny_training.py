"""Training runs of seconds: made-up examples, tiny models, and a loop that records every loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from hf_jukebox import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from hf_jukebox.training.accelerator import make_accelerator
from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import TrainingData
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.train_prior import PriorTask
from hf_jukebox.training.train_vqvae import VQVAETask

HOPS = {"downs_t": [3, 1, 1]}  # 8, 16, 32
CHUNK = 2048


class Examples(Dataset[dict[str, torch.Tensor]]):
    """Dataset whose example `position` is made from a generator of that seed, so a pure function of the position."""

    def __init__(self, make: Callable[[torch.Generator], dict[str, torch.Tensor]], length: int) -> None:
        self.make = make
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return self.make(torch.Generator().manual_seed(position))


def loop_arguments(output_dir: Path, **options: Any) -> LoopArguments:
    quiet: dict[str, Any] = {
        "train_batch_size": 2,
        "logging_steps": 1,
        "validation_steps": 1000,
        "checkpointing_steps": 1000,
        "sample_steps": 0,
        "report_to": "none",
        "ema_decay": 0.9,
    }
    return LoopArguments(output_dir=str(output_dir), **quiet | options)


class RecordingTrainer(Trainer):
    """Trainer that records the loss of every step."""

    losses: dict[int, float]

    def train_step(self, batches: Any) -> dict[str, torch.Tensor]:
        metrics = super().train_step(batches)
        self.__dict__.setdefault("losses", {})[self.step] = metrics["loss"].item()
        return metrics


def tiny_vqvae(**config: Any) -> JukeboxVQVAE:
    torch.manual_seed(0)
    return JukeboxVQVAE(JukeboxVQVAEConfig.from_preset("tiny_vqvae", **HOPS | config))


def vqvae_trainer(
    arguments: LoopArguments, model: JukeboxVQVAE | None = None, chunk: int = CHUNK, held_out: int = 2
) -> RecordingTrainer:
    model = tiny_vqvae() if model is None else model
    examples = Examples(lambda generator: {"audio": torch.rand(chunk, generator=generator) - 0.5}, 8)
    accelerator = make_accelerator(arguments)
    data = TrainingData(examples, Examples(examples.make, held_out), "noise")
    return RecordingTrainer(model, VQVAETask(model, accelerator.device), data, arguments, accelerator)


def tiny_prior(preset: str = "tiny_prior", **config: Any) -> JukeboxPrior:
    torch.manual_seed(0)
    level = JukeboxPriorConfig.from_preset(preset).level
    fitting: dict[str, Any] = {"hop_length": [8, 16, 32][level]}
    if preset == "tiny_upsampler":
        fitting["upsampling_strides"] = [2]
    return JukeboxPrior(JukeboxPriorConfig.from_preset(preset, **fitting | config))


def prior_trainer(
    arguments: LoopArguments, model: JukeboxPrior | None = None, label_dropout: float = 0.0
) -> RecordingTrainer:
    model = tiny_prior() if model is None else model
    config = model.config

    def example(generator: torch.Generator) -> dict[str, torch.Tensor]:
        size = config.codebook_size
        result = {"codes": torch.randint(size, (config.n_ctx,), generator=generator)}
        if config.is_upsampler:
            length = config.n_ctx // config.upsampling_ratio
            result["upper_codes"] = torch.randint(size, (length,), generator=generator)
        if config.has_labels:
            timing = torch.tensor([20 * config.sampling_rate, 0, config.window_length])
            names = torch.randint(1, 3, (1 + config.genre_words,), generator=generator)
            lyrics = torch.randint(config.lyrics_vocab_size, (config.n_lyrics,), generator=generator)
            result["labels"] = torch.cat([timing, names, lyrics])
        return result

    accelerator = make_accelerator(arguments)
    task = PriorTask(config, tiny_vqvae().eval(), label_dropout)
    data = TrainingData(Examples(example, 8), Examples(example, 2), "random codes")
    return RecordingTrainer(model, task, data, arguments, accelerator)
