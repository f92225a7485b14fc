"""Where training data comes from, as a user names it, and the examples made of it."""

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
from .audio_folder import songs_of_folder
from .chunks import ChunkPlan, ChunkSettings, Selection, select_songs
from .code_cache import CodeCache
from .datasets import AudioChunks, ChunkReader, CodeChunks, Example
from .encoding import BlockGrid
from .hf_datasets import SongStream, is_saved_dataset, songs_on_disk, songs_on_hub
from .label_tables import WindowLabels, report_unknown
from .recordings import is_held_out, open_recordings
from .songs import Song, SongMetadata
from .streams import StreamedChunks

logger = logging.getLogger(__name__)

Songs = Sequence[Song] | SongStream


@dataclass
class SourceArguments:
    """Where the songs are."""

    train_data_dir: str | None = field(
        default=None,
        metadata={
            "help": "A folder of wav, flac, ogg or mp3 files, with a metadata.csv or metadata.jsonl (file_name, "
            "artist, genre, lyrics) or without; or a data set written by datasets' save_to_disk."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "A data set of the Hub with a column audio and, if it has them, artist, genre, lyrics."},
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Which configuration of that data set."})
    dataset_split: str = field(default="train", metadata={"help": "Which split of that data set, or of one on disk."})
    streaming: bool = field(
        default=False, metadata={"help": "Read the data set from the Hub as it is needed, without storing it."}
    )

    def open_songs(self) -> Songs:
        """The songs, unread.

        Raises:
            FileNotFoundError: there is no such folder, or no audio in it.
            ValueError: no source or two are named, or the one that is has no audio column or a faulty table.
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
    """What to train on, and how it is cut."""

    min_duration: float | None = field(
        default=None,
        metadata={
            "help": "Leave out songs shorter than this many seconds; by default the chunk, rounded up to a second."
        },
    )
    max_duration: float | None = field(
        default=None, metadata={"help": "Leave out songs of this many seconds or more; by default none."}
    )
    aug_shift: bool = field(default=False, metadata={"help": "Move every chunk at random by up to half its length."})
    aug_blend: bool = field(
        default=False,
        metadata={"help": "Mix stereo to mono with a random weight (else with 0.5 and 0.5). Not with codes."},
    )
    dataloader_num_workers: int = field(default=0, metadata={"help": "Processes that read ahead."})

    def vqvae_chunks(self, config: JukeboxVQVAEConfig, chunk_length: int, seed: int) -> ChunkSettings:
        """How songs are cut for a VQ-VAE.

        Raises:
            ValueError: `chunk_length` is no multiple of the top hop.
        """
        hop = config.hop_lengths[-1]
        if chunk_length % hop:
            raise ValueError(
                f"A chunk must be a multiple of the VQ-VAE's longest hop of {hop} samples, not {chunk_length}."
            )
        return ChunkSettings(chunk_length, config.sampling_rate, **self._cutting(seed))

    def prior_chunks(self, config: JukeboxPriorConfig, vqvae: JukeboxVQVAEConfig, seed: int) -> ChunkSettings:
        """How songs are cut for a prior."""
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
    """The songs that are trained on, to notice that they are others when training is resumed.

    Attributes:
        count: How many they are.
        fingerprint: Hash of their names and lengths, in their order.
    """

    count: int
    fingerprint: str

    @classmethod
    def of(cls, names: Iterable[str], lengths: Iterable[int]) -> Self:
        """List songs by their names and lengths in samples."""
        songs = list(zip(names, lengths, strict=True))
        return cls(len(songs), hashlib.sha256(json.dumps(songs).encode()).hexdigest()[:16])

    def warn_of_changes(self, before: Mapping[str, Any], checkpoint: Path) -> None:
        """Log a warning if a checkpoint was written with other songs than these."""
        if dict(before) == asdict(self):
            return
        count = before.get("count")
        logger.warning(
            "The data has changed since %s was written: %d songs to train on, %s. Training continues where it stood in "
            "the order of the songs, which is another one now: some parts come twice in this epoch, some not at all.",
            checkpoint,
            self.count,
            "but not the same ones, or cut otherwise" if count == self.count else f"where there were {count}",
        )


@dataclass(frozen=True)
class TrainingData:
    """Examples to train on, examples held out, and in one sentence what there is of either.

    Attributes:
        songs: Those to train on; None where they are not known beforehand, as in a stream.
    """

    train: Dataset[Example]
    validation: Dataset[Example]
    summary: str
    songs: SongList | None = None


def song_metadata(songs: Songs | CodeCache) -> list[SongMetadata]:
    """What is known about the songs, from which label tables are made. Of a stream nothing else is fetched."""
    match songs:
        case CodeCache():
            return songs.metadata
        case SongStream():
            return list(songs.metadata())
    return [song.metadata for song in songs]


def audio_data(songs: Songs, settings: ChunkSettings, process_index: int = 0, num_processes: int = 1) -> TrainingData:
    """Chunks of audio, for a VQ-VAE.

    Args:
        process_index, num_processes: Which process this is; only a stream has to know.

    Raises:
        ValueError: no song can be read, or none is left to train on.
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
    """Windows of a prior as audio, which a [`ChunkEncoder`] turns into codes batch by batch.

    Raises:
        ValueError: no song can be read, or none is left to train on.
    """
    if not isinstance(songs, SongStream):
        report_unknown(song_metadata(songs), config)
    reader = ChunkReader(settings, BlockGrid.of(vqvae), WindowLabels.of(config))
    return _from_audio(songs, reader, process_index, num_processes)


def code_data(cache: CodeCache, settings: ChunkSettings, config: JukeboxPriorConfig) -> TrainingData:
    """Windows of a prior out of a cache of codes.

    Raises:
        ValueError: no song is left to train on, the codes are of another VQ-VAE than the prior's, or blending is asked
            for, which codes cannot do.
    """
    if settings.aug_blend:
        raise ValueError(
            "aug_blend mixes audio, which codes no longer are; leave it out, or train without a code cache."
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
        SongList.of([cache.songs[i].metadata.name for i in selection.train], [lengths[i] for i in selection.train]),
    )


def _from_audio(songs: Songs, reader: ChunkReader, process_index: int, num_processes: int) -> TrainingData:
    if isinstance(songs, SongStream):
        stream = songs.part_of_process(process_index, num_processes)
        return TrainingData(
            StreamedChunks(stream, reader), StreamedChunks(stream, reader, training=False), f"{songs.name}, streamed"
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
        SongList.of([recordings[i].song.metadata.name for i in selection.train], [lengths[i] for i in selection.train]),
    )


def _summary(selection: Selection, unreadable: int) -> str:
    none_held_out = "" if selection.validation else "; no song is held out, so nothing is validated"
    return f"{selection}{f', {unreadable} unreadable' if unreadable else ''}{none_held_out}"
