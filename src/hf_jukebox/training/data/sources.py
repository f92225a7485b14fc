"""Sources of training data as options, and the training and validation examples made from them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from torch.utils.data import Dataset

from ...configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ...modeling_vqvae import JukeboxVQVAE
from .audio_folder import is_saved_dataset, songs_of_folder
from .chunks import ChunkPlan, ChunkSettings, Selection, select_songs
from .code_cache import CodeCache
from .datasets import AudioChunks, ChunkReader, CodeChunks, Example
from .encoding import BlockGrid
from .hf_datasets import SongStream, songs_on_disk, songs_on_hub
from .label_tables import report_unknown, window_labels
from .recordings import is_held_out, open_recordings
from .songs import Song, SongMetadata
from .streams import StreamedChunks

logger = logging.getLogger(__name__)

Songs = Sequence[Song] | SongStream


@dataclass
class SourceArguments:
    """Options of the source of the songs."""

    train_data_dir: str | None = field(
        default=None,
        metadata={
            "help": "A folder of wav, flac, ogg or mp3 files, with or without a metadata.csv or metadata.jsonl "
            "(file_name, artist, genre, lyrics), or a data set written by save_to_disk of datasets."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "A data set on the Hub with a column audio and, optionally, artist, genre and lyrics."},
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    dataset_split: str = field(default="train", metadata={"help": "Split of that data set, or of one on disk."})
    streaming: bool = field(
        default=False, metadata={"help": "Read the data set from the Hub during training, without storing it."}
    )

    def open_songs(self) -> Songs:
        """Return the songs, without reading their audio.

        Raises:
            FileNotFoundError: the folder does not exist, or holds no audio.
            ValueError: none or both of the sources are named, or the data has no audio column or a faulty table.
        """
        if (self.train_data_dir is None) == (self.dataset_name is None):
            raise ValueError("Name what to train on: either --train_data_dir FOLDER or --dataset_name NAME.")
        if self.dataset_name is not None:
            source = (self.dataset_name, self.dataset_config_name, self.dataset_split)
            return SongStream.open(*source) if self.streaming else songs_on_hub(*source)
        assert self.train_data_dir is not None
        if is_saved_dataset(self.train_data_dir):
            return songs_on_disk(self.train_data_dir, self.dataset_split)
        return songs_of_folder(self.train_data_dir)


@dataclass
class DataArguments(SourceArguments):
    """Options of the training data and of its chunks."""

    min_duration: float | None = field(
        default=None,
        metadata={
            "help": "Leave out songs shorter than this many seconds; by default the chunk, rounded up to a second."
        },
    )
    max_duration: float | None = field(
        default=None, metadata={"help": "Leave out songs of this many seconds or more; no limit by default."}
    )
    aug_shift: bool = field(default=False, metadata={"help": "Move every chunk at random by up to half its length."})
    aug_blend: bool = field(
        default=False,
        metadata={"help": "Mix stereo to mono with a random weight instead of 0.5 and 0.5. Not for codes."},
    )
    dataloader_num_workers: int = field(default=0, metadata={"help": "Worker processes that read ahead."})

    def vqvae_chunks(self, config: JukeboxVQVAEConfig, chunk_length: int, seed: int) -> ChunkSettings:
        """Make the settings of chunks for a VQ-VAE.

        Raises:
            ValueError: `chunk_length` is not a multiple of the top hop.
        """
        hop = config.hop_lengths[-1]
        if chunk_length % hop:
            raise ValueError(
                f"A chunk must be a multiple of the VQ-VAE's longest hop of {hop} samples, not {chunk_length}."
            )
        return ChunkSettings(chunk_length, config.sampling_rate, **self._cutting(seed))

    def prior_chunks(self, config: JukeboxPriorConfig, vqvae: JukeboxVQVAEConfig, seed: int) -> ChunkSettings:
        """Make the settings of windows for a prior."""
        return ChunkSettings.for_prior(config, vqvae, **self._cutting(seed))

    def _cutting(self, seed: int) -> dict[str, Any]:
        return {
            "min_duration": self.min_duration,
            "max_duration": self.max_duration,
            "aug_shift": self.aug_shift,
            "aug_blend": self.aug_blend,
            "seed": seed,
        }


@dataclass(frozen=True)
class SongList:
    """Summary of the songs to train on, to detect changes when training is resumed.

    Attributes:
        count: Number of songs.
        fingerprint: Hash of their names and lengths, in order.
    """

    count: int
    fingerprint: str

    @classmethod
    def from_songs(cls, songs: Iterable[tuple[str, int]]) -> Self:
        """Summarize songs, each given by its name and its length in samples."""
        listed = list(songs)
        return cls(len(listed), hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16])

    def warn_of_changes(self, before: Mapping[str, Any], checkpoint: Path) -> None:
        """Log a warning if a checkpoint was written with other songs than these."""
        if dict(before) == asdict(self):
            return
        count = before.get("count")
        logger.warning(
            "The data has changed since %s was written: %d songs to train on, %s. Training continues at the same "
            "position in the new order of the songs: this epoch may repeat some parts and leave out others.",
            checkpoint,
            self.count,
            "but other ones, or cut differently" if count == self.count else f"where there were {count}",
        )


@dataclass(frozen=True)
class TrainingData:
    """Examples to train on, and examples held out.

    Attributes:
        summary: One line with the numbers of songs.
        songs: Songs to train on; None if they are unknown beforehand, as in a stream.
        hours: Length of the songs to train on; None if it is unknown beforehand.
    """

    train: Dataset[Example]
    validation: Dataset[Example]
    summary: str
    songs: SongList | None = None
    hours: float | None = None


def song_metadata(songs: Songs | CodeCache) -> list[SongMetadata]:
    """Return the metadata of songs, from which label tables are made. From a stream nothing else is fetched."""
    match songs:
        case CodeCache():
            return songs.metadata
        case SongStream():
            return list(songs.metadata())
    return [song.metadata for song in songs]


def audio_data(songs: Songs, settings: ChunkSettings, process_index: int = 0, num_processes: int = 1) -> TrainingData:
    """Make chunks of audio, for a VQ-VAE.

    Args:
        process_index, num_processes: Rank of this process and number of processes, used by streams only.

    Raises:
        ValueError: no song can be read, or none remains to train on.
    """
    return _from_audio(songs, ChunkReader(settings), process_index, num_processes)


def audio_data_for_prior(
    songs: Songs,
    settings: ChunkSettings,
    config: JukeboxPriorConfig,
    vqvae: JukeboxVQVAE,
    process_index: int = 0,
    num_processes: int = 1,
) -> TrainingData:
    """Make windows of a prior as audio, which a [`ChunkEncoder`] turns into codes batch by batch.

    Raises:
        ValueError: no song can be read, or none remains to train on.
    """
    if not isinstance(songs, SongStream):
        report_unknown(song_metadata(songs), config)
    reader = ChunkReader(settings, BlockGrid.from_vqvae(vqvae), window_labels(config))
    return _from_audio(songs, reader, process_index, num_processes)


def code_data(cache: CodeCache, settings: ChunkSettings, config: JukeboxPriorConfig) -> TrainingData:
    """Make windows of a prior from a cache of codes.

    Raises:
        ValueError: no song remains to train on, the prior was made for another VQ-VAE than the codes, or `aug_blend` is
            set, which needs audio.
    """
    if settings.aug_blend:
        raise ValueError(
            "aug_blend mixes audio and cannot be applied to codes; leave it out, or train without a code cache."
        )
    report_unknown([song.metadata for song in cache.songs], config)
    lengths = [song.num_samples for song in cache.songs]
    selection = select_songs(
        lengths, [is_held_out(song.position, len(cache.metadata)) for song in cache.songs], settings
    )

    def examples(indices: list[int], training: bool) -> CodeChunks:
        plan = ChunkPlan([lengths[i] for i in indices], settings, training)
        return CodeChunks(cache, [cache.songs[i] for i in indices], plan, config)

    return TrainingData(
        examples(selection.train, True),
        examples(selection.validation, False),
        _summary(selection, len(cache.unreadable)),
        SongList.from_songs((cache.songs[i].metadata.name, lengths[i]) for i in selection.train),
        sum(lengths[i] for i in selection.train) / config.sampling_rate / 3600,
    )


def _from_audio(songs: Songs, reader: ChunkReader, process_index: int, num_processes: int) -> TrainingData:
    if isinstance(songs, SongStream):
        stream = songs.part_of_process(process_index, num_processes)
        return TrainingData(
            StreamedChunks(stream, reader), StreamedChunks(songs, reader, training=False), f"{songs.name}, streamed"
        )
    recordings, unreadable = open_recordings(songs, reader.settings.sampling_rate)
    lengths = [recording.num_samples for recording in recordings]
    held_out = [is_held_out(recording.position, len(songs)) for recording in recordings]
    selection = select_songs(lengths, held_out, reader.settings)

    def examples(indices: list[int], training: bool) -> AudioChunks:
        plan = ChunkPlan([lengths[i] for i in indices], reader.settings, training)
        return AudioChunks([recordings[i] for i in indices], plan, reader)

    return TrainingData(
        examples(selection.train, True),
        examples(selection.validation, False),
        _summary(selection, len(unreadable)),
        SongList.from_songs((recordings[i].song.metadata.name, lengths[i]) for i in selection.train),
        sum(lengths[i] for i in selection.train) / reader.settings.sampling_rate / 3600,
    )


def _summary(selection: Selection, unreadable: int) -> str:
    none_held_out = "" if selection.validation else "; no song is held out, so nothing is validated"
    return f"{selection}{f', {unreadable} unreadable' if unreadable else ''}{none_held_out}"
