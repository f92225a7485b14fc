"""A VQ-VAE from recordings: what examples/train_vqvae.py runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..configuration_jukebox import JukeboxVQVAEConfig
from ..files.text import read_json_object, user_path
from ..modeling_vqvae import JukeboxVQVAE
from .arguments import LoopArguments
from .checkpoint import check_output_dir, find_checkpoint
from .data import AudioChunks, DataArguments, DataStatistics, NoSongsError, TrainingData, audio_data, measure_statistics
from .loop import Trainer, log_memory, make_accelerator
from .vqvae import VQVAETask

logger = logging.getLogger(__name__)


@dataclass
class VQVAEArguments:
    """What is trained."""

    _argument_group_name = "VQ-VAE"

    preset: str = field(
        default="small_vqvae", metadata={"help": "Sizes: 5b, small_vqvae, or tiny_vqvae to try things out."}
    )
    model_config: str | None = field(
        default=None, metadata={"help": "A JSON file with settings of JukeboxVQVAEConfig that replace the preset's."}
    )
    vqvae: str | None = field(
        default=None, metadata={"help": "Folder or Hub repository of a VQ-VAE to go on from, in place of a preset."}
    )
    chunk_length: int = field(
        default=262_144, metadata={"help": "Samples of an example; a multiple of the longest hop."}
    )


def train_vqvae(model_arguments: VQVAEArguments, data_arguments: DataArguments, arguments: LoopArguments) -> Path:
    """Train a VQ-VAE; the folder of the finished model.

    Raises:
        OSError, ValueError: what is wrong with the data or the options, and what to change.
    """
    check_output_dir(Path(arguments.output_dir), arguments.resume_from_checkpoint, arguments.overwrite_output_dir)
    accelerator = make_accelerator(arguments)
    torch.manual_seed(arguments.seed)
    if model_arguments.vqvae is not None:
        model = JukeboxVQVAE.from_pretrained(model_arguments.vqvae)
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
    trainer = Trainer(model, task, data, arguments, accelerator, data_arguments.dataloader_num_workers)
    return trainer.train()


def whole_seconds(num_samples: int, sampling_rate: int) -> int:
    """Samples in the whole seconds of a song: by default a chunk's length is rounded up to a second."""
    return num_samples // sampling_rate * sampling_rate


def read_settings(path: str | None) -> dict[str, Any]:
    """Settings of a configuration out of a JSON file; none without one.

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
    """Put into the configuration what the losses are divided by: measured, or as they were before a restart."""
    resumed = arguments.resume_from_checkpoint and find_checkpoint(
        Path(arguments.output_dir), arguments.resume_from_checkpoint
    )
    if resumed:
        before = JukeboxVQVAEConfig.from_pretrained(resumed)
        measured = DataStatistics(before.l1_normalizer, before.l2_normalizer, before.spectral_normalizer, 0.0)
    else:
        assert isinstance(data.train, AudioChunks) or hasattr(data.train, "recorded")
        measured = measure_statistics(data.train.recorded(), config.sampling_rate)
    shared = [measured]
    broadcast_object_list(shared)  # streams give each process songs of its own
    shared[0].put_into(config)
