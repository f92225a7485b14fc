"""Tables of embeddings: one row per recording and stretch of time, as parquet or npz."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import replacing
from .embedding import Pool, pool_ends, pool_name

SUFFIXES = (".parquet", ".npz")


@dataclass(frozen=True)
class EmbeddedRecording:
    """Embeddings of one recording.

    Args:
        length: Codes that it was embedded from.
        pooled: Per pooling `[layers, hidden_size]` for `"mean"`, else `[T, layers, hidden_size]`.
    """

    name: str
    length: int
    pooled: Mapping[Pool, np.ndarray]

    def rows(self, pool: Pool) -> np.ndarray:
        """Return `[T, layers, hidden_size]`."""
        values = self.pooled[pool]
        return values[None] if pool == "mean" else values

    def times(self, pool: Pool, codes_per_second: float) -> np.ndarray:
        """Return the start and the end of each row in seconds, `[T, 2]`."""
        ends = pool_ends(pool, self.length, codes_per_second)
        return np.stack([np.array([0, *ends[:-1]]), np.array(ends)], axis=1) / codes_per_second


def check_can_write(path: Path) -> None:
    """Check that the library for a format is installed.

    Raises:
        OSError: it is not.
    """
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise OSError("Parquet files need pyarrow; install it with: pip install 'hf_jukebox[study]', or write .npz.")


def write_table(path: Path, recordings: Sequence[EmbeddedRecording], settings: Mapping[str, Any]) -> None:
    """Write recordings to one file; only one of them is in memory at a time.

    Args:
        recordings: Read as often as they are asked for.
        settings: `layers`, `pool`, `codes_per_second` and `hidden_size`, and whatever else is to be kept with them.
    """
    with replacing(path) as unfinished:
        if path.suffix.lower() == ".parquet":
            _write_parquet(unfinished, recordings, settings)
        else:
            _write_npz(unfinished, recordings, settings)


def _write_parquet(path: Path, recordings: Sequence[EmbeddedRecording], settings: Mapping[str, Any]) -> None:
    """Write the columns recording, pool, start, end (in seconds), and layer_N, a list of numbers, per layer."""
    import pyarrow
    import pyarrow.parquet

    vector = pyarrow.list_(pyarrow.float32(), settings["hidden_size"])
    columns = [("recording", pyarrow.string()), ("pool", pyarrow.string())]
    columns += [("start", pyarrow.float64()), ("end", pyarrow.float64())]
    columns += [(f"layer_{layer}", vector) for layer in settings["layers"]]
    schema = pyarrow.schema(columns, metadata={"hf_jukebox": json.dumps(settings)})
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for recording in recordings:
            name = recording.name.encode("utf-8", "replace").decode()
            for pool in settings["pool"]:
                rows, times = recording.rows(pool), recording.times(pool, settings["codes_per_second"])
                vectors = [
                    pyarrow.FixedSizeListArray.from_arrays(
                        np.ascontiguousarray(rows[:, layer]).reshape(-1), type=vector
                    )
                    for layer in range(rows.shape[1])
                ]
                named = [[name] * len(rows), [pool_name(pool)] * len(rows)]
                writer.write_table(pyarrow.table([*named, times[:, 0], times[:, 1], *vectors], schema=schema))


def _write_npz(path: Path, recordings: Sequence[EmbeddedRecording], settings: Mapping[str, Any]) -> None:
    """Write the arrays recordings, layers and settings, and per pooling rows, their times and where recordings begin.

    `mean` is `[N, layers, hidden_size]`. `code`, and `10s` and its like, are `[rows of all recordings, layers,
    hidden_size]`; those of recording n are `first[n]` to `first[n + 1]` of `code_first`, from `code_times[:, 0]` to
    `code_times[:, 1]` seconds.
    """
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:

        def add(name: str, array: np.ndarray) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)

        add("recordings", np.array([recording.name for recording in recordings]))
        add("layers", np.array(settings["layers"]))
        add("settings", np.array(json.dumps(settings)))
        for pool in settings["pool"]:
            times = [recording.times(pool, settings["codes_per_second"]) for recording in recordings]
            first = np.cumsum([0, *map(len, times)])
            if pool != "mean":
                add(f"{pool_name(pool)}_first", first)
                add(f"{pool_name(pool)}_times", np.concatenate(times))
            shape = (int(first[-1]), len(settings["layers"]), settings["hidden_size"])
            with archive.open(f"{pool_name(pool)}.npy", "w", force_zip64=True) as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for recording in recordings:
                    file.write(np.ascontiguousarray(recording.rows(pool), "<f4").tobytes())
