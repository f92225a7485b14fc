"""Songs in a data set of `datasets`: on disk, downloaded from the Hub, or streamed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Audio, ClassLabel, Dataset, DatasetDict, IterableDataset, load_dataset, load_from_disk
from datasets.distributed import split_dataset_by_node

from .songs import AudioRow, Song, SongMetadata, audio_in_cell

_TEXT_COLUMNS = ("artist", "genre", "lyrics")


def songs_on_disk(folder: str | os.PathLike[str], split: str = "train") -> list[Song]:
    """List the songs that `save_to_disk` wrote into a folder.

    Raises:
        ValueError: the data set has no such split, no audio column or no rows.
    """
    dataset = load_from_disk(str(folder))
    if isinstance(dataset, DatasetDict):
        if split not in dataset:
            raise ValueError(f"{folder} has no split {split!r}; choose one of {', '.join(dataset)}.")
        dataset = dataset[split]
    return _rows_as_songs(dataset, str(folder))


def songs_on_hub(name: str, config_name: str | None = None, split: str = "train") -> list[Song]:
    """Download a data set of the Hub (or open a local folder in its layout), and list the songs.

    Raises:
        ValueError: the data set has no audio column or no rows.
    """
    return _rows_as_songs(load_dataset(name, config_name, split=split), name)


@dataclass(frozen=True)
class SongStream:
    """Songs of a data set of the Hub, read in sequence without downloading it first."""

    dataset: Any  # an IterableDataset with an undecoded audio column
    name: str

    @classmethod
    def open(cls, name: str, config_name: str | None = None, split: str = "train") -> SongStream:
        """Open the data set `name` of the Hub.

        Raises:
            ValueError: the data set has no audio column.
        """
        return cls.from_dataset(load_dataset(name, config_name, split=split, streaming=True), name)

    @classmethod
    def from_dataset(cls, dataset: IterableDataset, name: str = "The stream") -> SongStream:
        """Make a stream of any `datasets.IterableDataset` with a column audio.

        Raises:
            ValueError: the data set has no audio column.
        """
        if dataset.features is None:  # of a generator, for example: inferred from its first rows
            dataset = dataset._resolve_features()
        return cls(_undecoded(dataset, name), name)

    def __iter__(self) -> Iterator[Song]:
        names = _class_names(self.dataset.features)
        for number, row in enumerate(self.dataset):
            audio = audio_in_cell(row["audio"])
            path = row["audio"].get("path") if isinstance(row["audio"], Mapping) else None
            yield Song(_metadata(row, names, path or f"{self.name}[{number}]"), audio)

    def metadata(self) -> Iterator[SongMetadata]:
        """Yield the metadata alone; from a parquet data set nothing else is fetched."""
        columns = [column for column in _TEXT_COLUMNS if column in (self.dataset.column_names or ())]
        if columns:
            names = _class_names(self.dataset.features)
            for number, row in enumerate(self.dataset.select_columns(columns)):
                yield _metadata(row, names, f"{self.name}[{number}]")

    def part_of_process(self, index: int, count: int) -> SongStream:
        """Return the songs of process `index` of `count`: whole files, if their number is a multiple of `count`."""
        return SongStream(split_dataset_by_node(self.dataset, rank=index, world_size=count), self.name)

    def in_order_of_epoch(self, seed: int, epoch: int) -> SongStream:
        """Return the same songs, with the files of the data set in an order that depends on `(seed, epoch)` alone."""
        shuffled = self.dataset.shuffle(seed=seed, buffer_size=1)
        shuffled.set_epoch(epoch)
        return SongStream(shuffled, self.name)


def _rows_as_songs(dataset: Dataset, name: str) -> list[Song]:
    dataset = _undecoded(dataset, name)
    if len(dataset) == 0:
        raise ValueError(f"{name} has no songs; its table is empty.")
    names = _class_names(dataset.features)
    table = dataset.select_columns([column for column in _TEXT_COLUMNS if column in dataset.column_names])
    rows: Any = table if table.column_names else [{}] * len(dataset)
    return [
        Song(_metadata(row, names, f"{name}[{number}]"), AudioRow(dataset, number)) for number, row in enumerate(rows)
    ]


def _undecoded(dataset: Any, name: str) -> Any:
    """Disable decoding of the audio column, so that all sources are decoded by this library alike."""
    columns = dataset.column_names or []
    if "audio" not in columns:
        raise ValueError(f"{name} has no column audio; its columns are: {', '.join(columns) or 'none'}.")
    if isinstance(dataset, IterableDataset) and not isinstance((dataset.features or {}).get("audio"), Audio):
        return dataset  # already paths or contents; casting would try to encode them
    return dataset.cast_column("audio", Audio(decode=False))


def _class_names(features: Mapping[str, Any] | None) -> dict[str, ClassLabel]:
    return {name: kind for name, kind in (features or {}).items() if isinstance(kind, ClassLabel)}


def _metadata(row: Mapping[str, Any], classes: Mapping[str, ClassLabel], name: str) -> SongMetadata:
    labels = {}
    for column in _TEXT_COLUMNS:
        if column in row:
            value = row[column]
            if column in classes and value is not None:
                value = classes[column].int2str(value)
            labels[column] = "" if value is None else str(value)
    return SongMetadata(name, **labels)
