"""Training of a VQ-VAE; the library side of `hf-jukebox train vqvae`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel

from ..configuration_jukebox import JukeboxVQVAEConfig
from ..convert.parts import load_part
from ..files.text import read_json_object, user_path
from ..modeling_vqvae import JukeboxVQVAE, JukeboxVQVAEOutput
from .accelerator import log_memory, make_accelerator
from .arguments import LoopArguments
from .card import Training
from .checkpoint import check_output_dir, find_checkpoint
from .data import AudioChunks, DataArguments, DataStatistics, NoSongsError, TrainingData, audio_data, measure_statistics
from .hub import fetch_checkpoint
from .loop import Trainer

logger = logging.getLogger(__name__)


@dataclass
class VQVAEArguments:
    """Options of the VQ-VAE to train."""

    _argument_group_name = "VQ-VAE"

    preset: str = field(
        default="small_vqvae", metadata={"help": "Sizes: 5b, small_vqvae, or tiny_vqvae for a first try."}
    )
    model_config: str | None = field(
        default=None, metadata={"help": "A JSON file with settings of JukeboxVQVAEConfig that replace the preset's."}
    )
    vqvae: str | None = field(
        default=None, metadata={"help": "Folder or Hub repository of a VQ-VAE to train further, in place of a preset."}
    )
    chunk_length: int = field(default=262_144, metadata={"help": "Samples per example; a multiple of the longest hop."})


def train_vqvae(model_arguments: VQVAEArguments, data_arguments: DataArguments, arguments: LoopArguments) -> Path:
    """Train a VQ-VAE, and return the folder of the finished model.

    Raises:
        OSError, ValueError: the data or the options cannot be used; the message says what to change.
    """
    fetch_checkpoint(arguments)
    check_output_dir(Path(arguments.output_dir), arguments.resume_from_checkpoint, arguments.overwrite_output_dir)
    accelerator = make_accelerator(arguments)
    torch.manual_seed(arguments.seed)
    if model_arguments.vqvae is not None:
        model = load_part(JukeboxVQVAE, model_arguments.vqvae, "vqvae")
    else:
        overrides = read_settings(model_arguments.model_config)
        model = JukeboxVQVAE(JukeboxVQVAEConfig.from_preset(model_arguments.preset, **overrides))
    config = model.config
    settings = data_arguments.vqvae_chunks(config, model_arguments.chunk_length, arguments.seed)
    songs = data_arguments.open_songs()
    try:
        data = audio_data(songs, settings, accelerator.process_index, accelerator.num_processes)
    except NoSongsError as error:
        fitting = whole_seconds(error.longest, config.sampling_rate) // config.hop_lengths[-1] * config.hop_lengths[-1]
        if not error.chunks_too_long or not fitting:
            raise
        raise ValueError(f"{error} Chunks that fit: --chunk_length {fitting}, or less.") from error
    logger.info(data.summary)
    if model_arguments.vqvae is None:
        _normalize(config, data, arguments, accelerator)
    log_memory(config, arguments, accelerator, chunk_length=model_arguments.chunk_length)
    task = VQVAETask(model, accelerator.device)
    options = {name: value for name, value in asdict(model_arguments).items() if value is not None}
    datasets = [data_arguments.dataset_name] if data_arguments.dataset_name else []
    training = Training("train vqvae", options, model_arguments.vqvae, datasets=datasets)
    trainer = Trainer(model, task, data, arguments, accelerator, data_arguments.dataloader_num_workers, training)
    return trainer.train()


def whole_seconds(num_samples: int, sampling_rate: int) -> int:
    """Round a length down to whole seconds, as the default minimum duration is a chunk rounded up to a second."""
    return num_samples // sampling_rate * sampling_rate


def read_settings(path: str | None) -> dict[str, Any]:
    """Read settings of a configuration from a JSON file; none if `path` is None.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is not a JSON object.
    """
    if path is None:
        return {}
    if not user_path(path).is_file():
        raise FileNotFoundError(
            f"There is no file {path}; --model_config names a JSON file with settings of the model."
        )
    return read_json_object(path)


def _normalize(
    config: JukeboxVQVAEConfig, data: TrainingData, arguments: LoopArguments, accelerator: Accelerator
) -> None:
    """Write the divisors of the losses into the configuration: measured, or those of the run to resume."""
    resumed = arguments.resume_from_checkpoint and find_checkpoint(
        Path(arguments.output_dir), arguments.resume_from_checkpoint
    )
    if resumed:
        before = JukeboxVQVAEConfig.from_pretrained(resumed)
        measured = DataStatistics(before.l1_normalizer, before.l2_normalizer, before.spectral_normalizer, 0.0)
    else:
        assert isinstance(data.train, AudioChunks) or hasattr(data.train, "iter_channels")
        measured = measure_statistics(data.train.iter_channels(), config.sampling_rate)
    shared = [measured]
    broadcast_object_list(shared)  # streams give each process other songs
    shared[0].put_into(config)


class VQVAETask:
    """Task of reconstructing chunks of audio `[B, T]`; see [`JukeboxVQVAE.forward`] for the loss.

    The codebooks are updated in every forward pass: with accumulated gradients, several times per step.
    """

    def __init__(self, model: JukeboxVQVAE, device: torch.device) -> None:
        self.config = model.config
        self.device = device

    @property
    def sampling_rate(self) -> int:
        return self.config.sampling_rate

    def prepare_inputs(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        return {"audio": batch["audio"].to(self.device, non_blocking=True)}

    def metrics(self, output: JukeboxVQVAEOutput) -> dict[str, torch.Tensor]:
        """Return the terms of the loss, usage and entropy of the codebooks, and errors."""
        terms = ("reconstruction_loss", "spectral_loss", "multispectral_loss", "commit_loss")
        return {name: getattr(output, name).detach() for name in terms} | (output.metrics or {})

    def sample_audio(self, model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return chunks and their reconstruction from each level."""
        output = model(**self.prepare_inputs(batch, training=False))
        audio = {f"{i}-original": samples for i, samples in enumerate(batch["audio"].numpy())}
        for level, decoded in enumerate(output.audio):
            clipped = decoded.float().clamp(-1, 1).cpu().numpy()
            audio |= {f"{i}-level-{level}": samples for i, samples in enumerate(clipped)}
        return audio

    def describe_samples(self, batch: dict[str, Any]) -> dict[str, str]:
        """Return nothing: the names say it."""
        return {}

    def finalize(self, model: PreTrainedModel, batches: Iterable[dict[str, Any]]) -> None:
        """Do nothing: a VQ-VAE needs no final measurement."""
