"""Training data: recordings, or their codes, and the batches made from them. See docs/training-data.md."""

from .audio_folder import songs_of_folder
from .chunks import ChunkPlan, ChunkSettings, NoSongsError
from .code_cache import CodeCache
from .datasets import AudioChunks, ChunkReader, CodeChunks
from .encode_songs import encode_songs
from .encoding import ChunkEncoder, encoder_fingerprint
from .hf_datasets import SongStream
from .label_tables import LabelTables, read_alphabet, report_unknown, tables_for_fine_tuning, tables_from_songs
from .loaders import training_loader, validation_loader
from .recordings import Recording, open_recordings
from .songs import Song, SongMetadata
from .sources import (
    DataArguments,
    SongList,
    SourceArguments,
    TrainingData,
    audio_data,
    audio_data_for_prior,
    code_data,
    song_metadata,
)
from .statistics import DataStatistics, measure_statistics
from .streams import StreamedChunks

__all__ = [
    "AudioChunks",
    "ChunkEncoder",
    "ChunkPlan",
    "ChunkReader",
    "ChunkSettings",
    "CodeCache",
    "CodeChunks",
    "DataArguments",
    "DataStatistics",
    "LabelTables",
    "NoSongsError",
    "Recording",
    "Song",
    "SongList",
    "SongMetadata",
    "SongStream",
    "SourceArguments",
    "StreamedChunks",
    "TrainingData",
    "audio_data",
    "audio_data_for_prior",
    "code_data",
    "encode_songs",
    "encoder_fingerprint",
    "measure_statistics",
    "open_recordings",
    "read_alphabet",
    "report_unknown",
    "song_metadata",
    "songs_of_folder",
    "tables_for_fine_tuning",
    "tables_from_songs",
    "training_loader",
    "validation_loader",
]
