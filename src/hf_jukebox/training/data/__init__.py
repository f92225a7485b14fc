"""Training data: from recordings, or codes of them, to batches. docs/training-data.md tells how to use it."""

from .chunks import ChunkPlan, ChunkSettings
from .codes import CodeCache
from .datasets import AudioChunks, ChunkReader, CodeChunks
from .encode_songs import encode_songs
from .encoding import ChunkEncoder, fingerprint
from .folder import songs_of_folder
from .hub import SongStream
from .labels import LabelTables, read_alphabet, report_unknown, tables_for_fine_tuning, tables_from_songs
from .loading import training_loader, validation_loader
from .recordings import Recording, open_recordings
from .songs import Song, SongMetadata
from .sources import (
    DataArguments,
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
    "Recording",
    "Song",
    "SongMetadata",
    "SongStream",
    "SourceArguments",
    "StreamedChunks",
    "TrainingData",
    "audio_data",
    "audio_data_for_prior",
    "code_data",
    "encode_songs",
    "fingerprint",
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
