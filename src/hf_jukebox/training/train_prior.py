"""Training of a prior, a top prior or an upsampler; the library side of `hf-jukebox train prior`."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..convert.parts import load_part
from ..hierarchy import Hierarchy, check_fingerprints, encoder_fingerprint
from ..labels.rows import decode_row
from ..labels.vocabulary import UNKNOWN_ID, LevelVocabulary
from ..layers.conditioning import LabelColumns, check_timing
from ..loading.adapter_files import Names
from ..modeling_prior import JukeboxPrior, JukeboxPriorOutput
from ..modeling_vqvae import JukeboxVQVAE
from ..presets import PRIOR_PRESETS
from ..sampling.single_prior import sample_codes
from ..sharing.licences import NON_COMMERCIAL
from ..tokenization_jukebox import NO_GENRE
from .accelerator import log_memory, make_accelerator
from .alignment_head import find_alignment
from .arguments import LoopArguments
from .card import Training
from .checkpoint import check_output_dir
from .data import (
    ChunkEncoder,
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
from .hub import fetch_checkpoint
from .loop import Trainer
from .lora import add_adapter
from .prior_arguments import PriorArguments
from .train_vqvae import read_settings, whole_seconds

logger = logging.getLogger(__name__)

_SAMPLES = ("held-out", "sampled")


def train_prior(model_arguments: PriorArguments, data_arguments: DataArguments, arguments: LoopArguments) -> Path:
    """Train a prior, and return the folder of the finished model.

    Raises:
        OSError, ValueError: the data or the options cannot be used; the message says what to change.
    """
    fetch_checkpoint(arguments)
    check_output_dir(Path(arguments.output_dir), arguments.resume_from_checkpoint, arguments.overwrite_output_dir)
    accelerator = make_accelerator(arguments)
    torch.manual_seed(arguments.seed)
    vqvae = load_part(JukeboxVQVAE, model_arguments.vqvae, "vqvae")
    cache = None if model_arguments.codes_dir is None else CodeCache(model_arguments.codes_dir)
    if cache is not None:
        cache.check(vqvae)
    songs = [] if cache is not None else data_arguments.open_songs()
    metadata = song_metadata(songs) if cache is None else [song.metadata for song in cache.songs]
    prior, own_names = _make_prior(model_arguments, data_arguments, vqvae.config, metadata)
    config = prior.config
    fingerprint = encoder_fingerprint(vqvae)
    if not model_arguments.allow_other_vqvae:
        check_fingerprints([config], fingerprint, "pass --allow_other_vqvae")
    config.vqvae_fingerprint = fingerprint
    if vqvae.config.weights_license == NON_COMMERCIAL:  # also that of what is made with its codes
        config.weights_license = NON_COMMERCIAL
    vqvae.to(accelerator.device)

    settings = data_arguments.prior_chunks(config, vqvae.config, arguments.seed)
    try:
        if cache is not None:
            data = code_data(cache, settings, config)
        else:
            if isinstance(songs, SongStream):
                report_unknown(metadata, config)  # for other songs, audio_data_for_prior does
            processes = (accelerator.process_index, accelerator.num_processes)
            data = audio_data_for_prior(songs, settings, config, vqvae, *processes)
    except NoSongsError as error:
        if not error.chunks_too_long:
            raise
        raise ValueError(f"{error} {_what_fits(error.longest, config, model_arguments)}") from error
    logger.info(data.summary)

    log_memory(config, arguments, accelerator)
    if model_arguments.lora_rank:
        logger.info("Adapters need less: gradients, optimizer state and EMA cover the adapters alone.")
        add_adapter(
            prior,
            model_arguments.lora_rank,
            model_arguments.lora_alpha,
            dropout=model_arguments.lora_dropout,
            target_modules=model_arguments.lora_target_modules,
            own_names=own_names,
        )
    task = PriorTask(config, vqvae, model_arguments.label_dropout, model_arguments.sample_seconds, arguments.seed)
    workers = data_arguments.dataloader_num_workers
    trainer = Trainer(
        prior, task, data, arguments, accelerator, workers, _training(model_arguments, data_arguments, config.level)
    )
    return trainer.train()


def _training(model: PriorArguments, data: DataArguments, level: int) -> Training:
    """Return what the card of the model says of its training."""
    options = {name: value for name, value in asdict(model).items() if value and name != "codes_dir"}
    if model.prior is not None:
        del options["preset"]
    if not model.lora_rank:
        del options["lora_target_modules"]
    datasets = [data.dataset_name] if data.dataset_name else []
    return Training("train prior", options | {"level": level}, model.prior, model.vqvae, datasets)


def _what_fits(longest: int, config: JukeboxPriorConfig, arguments: PriorArguments) -> str:
    """Return advice for songs that are shorter than a window; `longest` is the length of the longest, in samples."""
    if arguments.prior is not None:
        return "Fine-tuning keeps the window of the prior; only a new prior can have a shorter one."
    length = whole_seconds(longest, config.sampling_rate)
    fitting = 0
    for codes in range(config.upsampling_ratio, length // config.hop_length + 1, config.upsampling_ratio):
        if (config.num_joint_lyrics + codes) % config.attention_blocks == 0:
            fitting = codes
    if not fitting:
        return "They are too short for any window of this preset."
    seconds = math.ceil(fitting * config.hop_length / config.sampling_rate)
    durations = f", with --min_duration {seconds}" if config.has_timing and seconds < config.min_duration else ""
    return f'A window that fits: --model_config FILE.json with {{"n_ctx": {fitting}}}, or less{durations}.'


def _make_prior(
    model_arguments: PriorArguments,
    data_arguments: DataArguments,
    vqvae: JukeboxVQVAEConfig,
    songs: Sequence[SongMetadata],
) -> tuple[JukeboxPrior, Names]:
    """Make the prior to train: from a preset, fitted to VQ-VAE and data, or a trained one to fine-tune.

    Returns:
        The prior with the names of the data, and the names that it had before.
    """
    if model_arguments.prior is not None:
        prior = load_part(JukeboxPrior, model_arguments.prior, model_arguments.part)
        Hierarchy.of(vqvae, [prior.config])
        own_names = {"artists": prior.config.artists or {}, "genres": prior.config.genres or {}}
        if prior.config.has_labels:
            tables = tables_for_fine_tuning(songs, prior.config)
            for kind, name, old in tables.replaced:
                logger.info("The %s %s takes the row of %s.", kind, name, ", ".join(old))
            tables.put_into(prior.config)
        return prior, own_names
    preset = PRIOR_PRESETS.get(model_arguments.preset, {})
    level = model_arguments.level
    if level is None:
        level = preset["level"] if preset.get("upsampling_strides") else vqvae.num_levels - 1
    overrides = Hierarchy.prior_settings(vqvae, level) | read_settings(model_arguments.model_config)
    if model_arguments.alphabet is not None:
        overrides["alphabet"] = read_alphabet(model_arguments.alphabet)
    config = JukeboxPriorConfig.from_preset(model_arguments.preset, **overrides)
    if config.has_labels:
        for name in ("min_duration", "max_duration"):  # the range of the timing labels of a new prior
            if getattr(data_arguments, name) is not None:
                setattr(config, name, getattr(data_arguments, name))
        tables_from_songs(songs, config).put_into(config)
    return JukeboxPrior(config), {"artists": {}, "genres": {}}


class PriorTask:
    """Task of predicting the codes of windows, given upper codes and labels where the prior has them.

    Args:
        config: Config of the prior.
        vqvae: VQ-VAE of the codes, on the training device; it encodes audio batches and decodes samples.
        label_dropout: Probability of dropping a window's artist, and independently its genre, so that the prior also
            learns to work without.
        sample_seconds: Length of audio samples; a window at most, and by default.
        seed: Seed of the samples; the same noise every time, so that they can be compared.
    """

    def __init__(
        self,
        config: JukeboxPriorConfig,
        vqvae: JukeboxVQVAE,
        label_dropout: float = 0.0,
        sample_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.vqvae = vqvae.eval().requires_grad_(False)
        self.label_dropout = label_dropout
        self.seed = seed
        self._encode = ChunkEncoder(vqvae, config)
        codes = (
            config.n_ctx if sample_seconds is None else int(sample_seconds * config.sampling_rate) // config.hop_length
        )
        self._sample_length = min(max(codes, 1), config.n_ctx)

    @property
    def sampling_rate(self) -> int:
        return self.config.sampling_rate

    def prepare_inputs(self, batch: dict[str, Any], training: bool) -> dict[str, Any]:
        if "labels" in batch:
            batch = batch | {"labels": self._checked_labels(batch["labels"], self.label_dropout if training else 0.0)}
        if "audio" in batch:
            return self._encode(batch)
        return {name: each.to(self.vqvae.device, non_blocking=True) for name, each in batch.items()}

    def _checked_labels(self, labels: torch.Tensor, dropout: float) -> torch.Tensor:
        """Check label rows, and drop some artists and genres, while they are on the CPU."""
        config = self.config
        if config.has_timing:
            check_timing(labels, config.min_duration * config.sampling_rate, config.max_duration * config.sampling_rate)
        return drop_labels(labels, dropout, config.label_columns) if dropout else labels

    def metrics(self, output: JukeboxPriorOutput) -> dict[str, torch.Tensor]:
        """Return bits per code and, with lyrics, bits per character."""
        assert output.code_loss is not None
        metrics = {"bits_per_code": output.code_loss.detach()}
        if output.lyrics_loss is not None:
            metrics["bits_per_character"] = output.lyrics_loss.detach()
        return metrics

    def sample_audio(self, model: PreTrainedModel, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Sample windows with the labels and upper codes of held-out ones, and decode both."""
        assert isinstance(model, JukeboxPrior)
        inputs = self.prepare_inputs(batch, training=False)
        held_out = inputs["codes"][:, : self._sample_length]
        sampled = sample_codes(
            model,
            held_out.shape[1],
            upper_codes=inputs.get("upper_codes"),
            labels=inputs.get("labels"),
            batch_size=held_out.shape[0],
            seed=self.seed,
        )
        audio: dict[str, np.ndarray] = {}
        for name, codes in zip(_SAMPLES, (held_out, sampled), strict=True):
            decoded = self.vqvae.decode(codes, self.config.level).float().clamp(-1, 1).cpu().numpy()
            audio |= {f"{song}-{name}": samples for song, samples in enumerate(decoded)}
        return audio

    def describe_samples(self, batch: dict[str, Any]) -> dict[str, str]:
        """Return the labels of each sample, in words."""
        if "labels" not in batch or self.config.artists is None:
            return {}
        vocabulary = LevelVocabulary.from_config(self.config)
        words: dict[str, str] = {}
        for song, row in enumerate(batch["labels"].tolist()):
            labels = decode_row(row, vocabulary)
            words |= {f"{song}-{name}": f"artist {labels.artist}, genre {labels.genre}" for name in _SAMPLES}
        return words

    def finalize(self, model: PreTrainedModel, batches: Iterable[dict[str, Any]]) -> None:
        """Record the layer and head that follow the lyrics, if the prior has lyrics."""
        assert isinstance(model, JukeboxPrior)
        if self.config.lyrics_scheme is None:
            return
        try:
            inputs = (self.prepare_inputs(batch, training=False) for batch in batches)
            layer, head, score = find_alignment(model, inputs)
        except ValueError as error:
            logger.warning("%s", error)
            return
        self.config.alignment_layer, self.config.alignment_head = layer, head
        logger.info("Layer %d, head %d follows the lyrics best (%.2f of 1).", layer, head, score)


def drop_labels(labels: torch.Tensor, probability: float, columns: LabelColumns) -> torch.Tensor:
    """Copy rows `[B, label_length]`, making some artists and, independently, some genres unknown."""
    labels = labels.clone()
    artist, genre = torch.rand(2, labels.shape[0]) < probability
    labels[artist, columns.artist] = UNKNOWN_ID
    labels[genre, columns.genres] = labels.new_tensor([UNKNOWN_ID] + [NO_GENRE] * (columns.genre_words - 1))
    return labels
