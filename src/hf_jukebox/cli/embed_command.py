"""The command embed: vectors of recordings, or of a data set."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console.lines import write_line
from ..console.signals import work_to_keep
from ..files.text import user_path
from .checks import check_files, check_model_options, find_given_device
from .devices import AUTO
from .models import load_pipeline
from .options import ModelOptions, OutputOptions, path_option, with_options
from .progress import ProgressStyle, show_recordings
from .terminal import command_errors, error_console

if TYPE_CHECKING:
    from ..training.data.songs import Song

_LOW_MEMORY = "try --dtype float16, or a lower --layers"


@with_options
def embed(
    recordings: Annotated[
        list[str] | None,
        typer.Argument(help="Recordings, folders of recordings, or data sets saved to disk.", show_default=False),
    ] = None,
    output: Annotated[Path, path_option("--output", "-o", help="A new file, .parquet or .npz.")] = Path(
        "embeddings.parquet"
    ),
    dataset: Annotated[str | None, typer.Option(help="A data set of the Hub with a column audio instead.")] = None,
    dataset_config: Annotated[str | None, typer.Option(help="Its configuration.")] = None,
    split: Annotated[str, typer.Option(help="Its split.")] = "train",
    streaming: Annotated[bool, typer.Option("--streaming", help="Read it without downloading it first.")] = False,
    layers: Annotated[
        str | None, typer.Option(help="Layers of the top prior, with commas; half of its depth by default.")
    ] = None,
    pool: Annotated[
        str, typer.Option(help="mean, seconds per vector, or code for one per code; several with commas.")
    ] = "mean",
    windows: Annotated[int | None, typer.Option(help="Windows to use, from the start; all by default.")] = None,
    hop_fraction: Annotated[
        float, typer.Option(help="Hop from window to window, as a share of a window; below 1 they overlap.")
    ] = 1.0,
    compat: Annotated[str | None, typer.Option(help="jukemir for the recipe of that study.")] = None,
    *,
    model: ModelOptions,
    shown: OutputOptions,
) -> None:
    """Embed recordings by the activations of the top prior, into one parquet or npz file.

    Only the weights up to the highest layer are read. Repeat an interrupted command to continue it.
    """
    on_stop = "repeat the command to continue with what is left"
    with command_errors(quiet=shown.quiet, on_stop=on_stop, on_low_memory=_LOW_MEMORY):
        options: dict[str, Any] = {
            "layers": read_layers(layers),
            "pool": read_pools(pool),
            "windows": windows,
            "hop_fraction": hop_fraction,
            "compat": compat,
        }
        if compat not in (None, "jukemir"):
            raise ValueError(f"--compat must be jukemir, not {compat!r}.")
        if bool(recordings) == (dataset is not None):
            raise ValueError("Give recordings, or a data set with --dataset.")
        check_model_options(model)
        check_output_file(output)
        songs, total = _songs(recordings or [], dataset, dataset_config, split, streaming)
        model = replace(model.on_device(find_given_device(model.device)), low_memory=True)
        if compat is not None and model.dtype == AUTO:
            model = replace(model, dtype="float32")
        pipeline = load_pipeline(model, quiet=shown.quiet)
        style = shown.style
        with work_to_keep(), show_recordings(style, error_console(), total) as callback:
            result = pipeline.embed_files(songs, output, callback=callback, **options)
        if style is ProgressStyle.JSON:
            counts = {"embedded": len(result.names), "skipped": result.skipped}
            write_line(json.dumps({"output": str(result.output_file), **counts}))
        elif style is ProgressStyle.BAR:
            skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
            write_line(f"{result.output_file}: {len(result.names)} recordings{skipped}")


def read_layers(text: str | None) -> list[int] | None:
    """Return the layers that `--layers` names.

    Raises:
        ValueError: one is not a number.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers takes numbers with commas, such as 24,36, not {text!r}.") from None


def read_pools(text: str) -> list[str | float | None]:
    """Return the poolings that `--pool` names.

    Raises:
        ValueError: one is not a pooling.
    """
    pools: list[str | float | None] = []
    for part in (part.strip() for part in text.split(",")):
        try:
            pools.append({"mean": "mean", "code": None}[part] if part in ("mean", "code") else float(part))
        except ValueError:
            pools.append(math.nan)
    if any(isinstance(pool, float) and not 0 < pool < math.inf for pool in pools):
        raise ValueError(f"--pool takes mean, code or seconds, with commas, such as mean,5; not {text!r}.")
    return pools


def check_output_file(output: Path) -> None:
    """Check that a file of embeddings can be written, before a model is loaded.

    Raises:
        OSError, ValueError: it cannot.
    """
    from ..study.embedding_files import check_output

    check_output(output)
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{folder} is no folder that can be written to; give --output another place.")


def _songs(
    paths: Sequence[str], dataset: str | None, config: str | None, split: str, streaming: bool
) -> tuple[Iterable[Song], int | None]:
    """Return the songs to embed, and their number if it is known."""
    if dataset is not None:
        hub = _datasets()
        if streaming:
            return hub.SongStream.open(dataset, config, split), None
        rows = hub.songs_on_hub(dataset, config, split)
        return rows, len(rows)
    check_files([user_path(path) for path in paths])
    songs = [song for path in paths for song in _songs_at(path, split, is_only=len(paths) == 1)]
    return songs, len(songs)


def _songs_at(path: str, split: str, is_only: bool) -> Iterator[Song]:
    from ..training.data.audio_folder import is_saved_dataset, songs_of_folder
    from ..training.data.songs import AudioFile, Song, SongMetadata

    place = user_path(path)
    if not place.is_dir():
        yield Song(SongMetadata(path), AudioFile(place))
        return
    for song in _datasets().songs_on_disk(place, split) if is_saved_dataset(place) else songs_of_folder(place):
        name = song.metadata.name
        yield song if is_only else Song(replace(song.metadata, name=f"{path.rstrip('/')}/{name}"), song.audio)


def _datasets() -> Any:
    try:
        from ..training.data import hf_datasets
    except ImportError as error:
        raise OSError(
            "Data sets need the library datasets; install it with: pip install 'hf_jukebox[train]'"
        ) from error
    return hf_datasets
