"""Training data: recordings, or their codes, and the batches made from them. See docs/training-data.md.

The names are imported on first use: the folders and codes that other parts read need no library for data sets.
"""

from typing import TYPE_CHECKING

from ...lazy_names import names_on_first_use

if TYPE_CHECKING:
    from .audio_folder import songs_of_folder
    from .chunks import ChunkPlan, ChunkSettings, NoSongsError
    from .code_cache import CodeCache
    from .datasets import AudioChunks, ChunkReader, CodeChunks
    from .encode_songs import encode_songs
    from .encoding import ChunkEncoder
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

_MODULES = {
    "AudioChunks": "datasets",
    "ChunkEncoder": "encoding",
    "ChunkPlan": "chunks",
    "ChunkReader": "datasets",
    "ChunkSettings": "chunks",
    "CodeCache": "code_cache",
    "CodeChunks": "datasets",
    "DataArguments": "sources",
    "DataStatistics": "statistics",
    "LabelTables": "label_tables",
    "NoSongsError": "chunks",
    "Recording": "recordings",
    "Song": "songs",
    "SongList": "sources",
    "SongMetadata": "songs",
    "SongStream": "hf_datasets",
    "SourceArguments": "sources",
    "StreamedChunks": "streams",
    "TrainingData": "sources",
    "audio_data": "sources",
    "audio_data_for_prior": "sources",
    "code_data": "sources",
    "encode_songs": "encode_songs",
    "measure_statistics": "statistics",
    "open_recordings": "recordings",
    "read_alphabet": "label_tables",
    "report_unknown": "label_tables",
    "song_metadata": "sources",
    "songs_of_folder": "audio_folder",
    "tables_for_fine_tuning": "label_tables",
    "tables_from_songs": "label_tables",
    "training_loader": "loaders",
    "validation_loader": "loaders",
}

# Hidden from type checkers, for which a module-level __getattr__ means that every name exists.
if not TYPE_CHECKING:
    __getattr__ = names_on_first_use(__name__, _MODULES)
