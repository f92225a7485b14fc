"""A prior from recordings or from codes: what examples/train_prior.py runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..hierarchy import Hierarchy
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from ..presets import PRIOR_PRESETS
from .arguments import LoopArguments
from .checkpoint import check_output_dir
from .data import (
    CodeCache,
    DataArguments,
    NoSongsError,
    SongMetadata,
    SongStream,
    audio_data_for_prior,
    code_data,
    read_alphabet,
    report_unknown,
    song_metadata,
    tables_for_fine_tuning,
    tables_from_songs,
)
from .loop import Trainer, log_memory, make_accelerator
from .lora import add_adapter
from .prior import PriorTask
from .train_vqvae import read_settings, whole_seconds

logger = logging.getLogger(__name__)


@dataclass
class PriorArguments:
    """What is trained."""

    _argument_group_name = "prior"

    vqvae: str = field(
        default="", metadata={"help": "Folder or Hub repository of the VQ-VAE whose codes are modelled."}
    )
    level: int | None = field(
        default=None,
        metadata={
            "help": "0 is the finest; by default the VQ-VAE's top level, or the preset's own if it is an upsampler."
        },
    )
    preset: str = field(
        default="small_prior",
        metadata={
            "help": "Sizes: a published prior (prior_1b_lyrics, prior_5b, upsampler_level_0 ...), small_prior, "
            "small_labelled_prior, small_upsampler ..., or tiny_prior, tiny_labelled_prior, tiny_lyrics_prior, "
            "tiny_upsampler to try things out."
        },
    )
    model_config: str | None = field(
        default=None, metadata={"help": "A JSON file with settings of JukeboxPriorConfig that replace the preset's."}
    )
    prior: str | None = field(
        default=None, metadata={"help": "Folder or Hub repository of a prior to fine-tune, in place of a preset."}
    )
    codes_dir: str | None = field(
        default=None,
        metadata={"help": "Codes made by encode_dataset.py: the VQ-VAE then need not run, and no recordings are read."},
    )
    alphabet: str | None = field(
        default=None, metadata={"help": "A text file with the characters of the lyrics, for a new prior with lyrics."}
    )
    label_dropout: float = field(
        default=0.0,
        metadata={"help": "Probability with which a window loses its artist, and its genre, to learn to do without."},
    )
    lora_rank: int = field(
        default=0, metadata={"help": "Fine-tune by adapters of this rank instead of the whole prior; 0 for none."}
    )
    sample_seconds: float | None = field(
        default=None, metadata={"help": "Length of audio samples; by default a window."}
    )

    def __post_init__(self) -> None:
        """Check what no later code would notice.

        Raises:
            ValueError: an option is out of range, or misses another one.
        """
        if not self.vqvae:
            raise ValueError("Name the VQ-VAE whose codes are to be modelled: --vqvae FOLDER_OR_REPO.")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"--label_dropout must lie between 0 and 1, not {self.label_dropout}.")
        if self.lora_rank < 0:
            raise ValueError(f"--lora_rank must be 0 (the whole prior) or above, not {self.lora_rank}.")
        if self.lora_rank and self.prior is None:
            raise ValueError("--lora_rank adapts a trained prior: name it with --prior.")
        if self.prior is not None and (self.alphabet or self.model_config):
            raise ValueError(
                "A prior that is fine-tuned keeps its sizes and its alphabet: leave out --alphabet and --model_config."
            )


def train_prior(model_arguments: PriorArguments, data_arguments: DataArguments, arguments: LoopArguments) -> Path:
    """Train a prior; the folder of the finished model.

    Raises:
        OSError, ValueError: what is wrong with the data or the options, and what to change.
    """
    check_output_dir(Path(arguments.output_dir), arguments.resume_from_checkpoint, arguments.overwrite_output_dir)
    accelerator = make_accelerator(arguments)
    torch.manual_seed(arguments.seed)
    vqvae = JukeboxVQVAE.from_pretrained(model_arguments.vqvae)
    cache = None if model_arguments.codes_dir is None else CodeCache(model_arguments.codes_dir)
    if cache is not None:
        cache.check(vqvae)
    songs = [] if cache is not None else data_arguments.open_songs()
    metadata = song_metadata(songs) if cache is None else [song.metadata for song in cache.songs]
    prior = _make_prior(model_arguments, data_arguments, vqvae.config, metadata)
    config = prior.config
    vqvae.to(accelerator.device)

    settings = data_arguments.prior_chunks(config, vqvae.config, arguments.seed)
    try:
        if cache is not None:
            data = code_data(cache, settings, config)
        else:
            if isinstance(songs, SongStream):
                report_unknown(metadata, config)  # of other songs the data says it
            processes = (accelerator.process_index, accelerator.num_processes)
            data = audio_data_for_prior(songs, settings, config, vqvae, *processes)
    except NoSongsError as error:
        if not error.chunks_too_long:
            raise
        raise ValueError(f"{error} {_what_fits(error.longest, config, model_arguments)}") from error
    logger.info(data.summary)

    log_memory(config, arguments, accelerator)
    if model_arguments.lora_rank:
        logger.info("With adapters it takes less: gradients, optimizer and average are those of the adapters alone.")
        add_adapter(prior, model_arguments.lora_rank)
    task = PriorTask(config, vqvae, model_arguments.label_dropout, model_arguments.sample_seconds, arguments.seed)
    trainer = Trainer(prior, task, data, arguments, accelerator, data_arguments.dataloader_num_workers)
    return trainer.train()


def fitting_settings(vqvae: JukeboxVQVAEConfig, level: int) -> dict[str, Any]:
    """The settings of a prior that its place in a system decides.

    Raises:
        ValueError: the VQ-VAE has no such level.
    """
    if not 0 <= level < vqvae.num_levels:
        raise ValueError(f"The VQ-VAE has levels 0 to {vqvae.num_levels - 1}, but --level is {level}.")
    above = level + 1
    strides = [vqvae.strides_t[above]] * vqvae.downs_t[above] if above < vqvae.num_levels else []
    return {
        "level": level,
        "sampling_rate": vqvae.sampling_rate,
        "hop_length": vqvae.hop_lengths[level],
        "codebook_size": vqvae.codebook_size,
        "upsampling_strides": strides,
    }


def _what_fits(longest: int, config: JukeboxPriorConfig, arguments: PriorArguments) -> str:
    """Advice to those whose songs are shorter than a window; `longest` is the longest in samples."""
    if arguments.prior is not None:
        return "A prior that is fine-tuned keeps its window; a new one may have a shorter one."
    length = whole_seconds(longest, config.sampling_rate)
    fitting = 0
    for codes in range(config.upsampling_ratio, length // config.hop_length + 1, config.upsampling_ratio):
        if (config.num_joint_lyrics + codes) % config.attention_blocks == 0:
            fitting = codes
    if not fitting:
        return "They are too short for any window of this preset."
    seconds = math.ceil(fitting * config.hop_length / config.sampling_rate)
    durations = f", with --min_duration {seconds}" if config.has_timing and seconds < config.min_duration else ""
    return f'A window that fits: --model_config FILE.json that holds {{"n_ctx": {fitting}}}, or less{durations}.'


def _make_prior(
    model_arguments: PriorArguments,
    data_arguments: DataArguments,
    vqvae: JukeboxVQVAEConfig,
    songs: Sequence[SongMetadata],
) -> JukeboxPrior:
    """The prior before training: of a preset that is fitted to VQ-VAE and data, or one to be fine-tuned."""
    if model_arguments.prior is not None:
        prior = JukeboxPrior.from_pretrained(model_arguments.prior)
        Hierarchy.of(vqvae, [prior.config])
        if prior.config.has_labels:
            tables = tables_for_fine_tuning(songs, prior.config)
            for kind, name, old in tables.replaced:
                logger.info("The %s %s takes the row of %s.", kind, name, ", ".join(old))
            tables.put_into(prior.config)
        return prior
    preset = PRIOR_PRESETS.get(model_arguments.preset, {})
    level = model_arguments.level
    if level is None:
        level = preset["level"] if preset.get("upsampling_strides") else vqvae.num_levels - 1
    overrides = fitting_settings(vqvae, level) | read_settings(model_arguments.model_config)
    if model_arguments.alphabet is not None:
        overrides["alphabet"] = read_alphabet(model_arguments.alphabet)
    config = JukeboxPriorConfig.from_preset(model_arguments.preset, **overrides)
    if config.has_labels:
        for name in ("min_duration", "max_duration"):  # what the timing labels of a new prior cover
            if getattr(data_arguments, name) is not None:
                setattr(config, name, getattr(data_arguments, name))
        tables_from_songs(songs, config).put_into(config)
    return JukeboxPrior(config)
