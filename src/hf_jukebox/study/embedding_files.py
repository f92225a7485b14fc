"""Embeddings of many recordings as one parquet or npz file, kept per recording until it is complete."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import locked, replacing
from ..files.text import read_json, user_path
from ..training.data.audio_folder import songs_of_folder
from ..training.data.recordings import READING_ERRORS
from ..training.data.songs import Song
from .embedding import JukeboxEmbeddings, Pool
from .embedding_tables import SUFFIXES, EmbeddedRecording, check_can_write, write_table

logger = logging.getLogger(__name__)

Opener = Callable[[], AbstractContextManager[Any]]


@dataclass
class EmbeddedFiles:
    """Result of `JukeboxPipeline.embed_files`.

    Attributes:
        output_file: The file of embeddings.
        names: Recordings in it, in order.
        skipped: Recordings that could not be embedded, and why.
    """

    output_file: Path
    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def check_output(output_file: str | os.PathLike[str]) -> Path:
    """Return the path of a new file of embeddings.

    Raises:
        ValueError: it is neither parquet nor npz.
        OSError: it exists already, or the library that writes it is missing.
    """
    path = user_path(output_file)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} must end in .parquet or .npz, the formats of embeddings.")
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it, or give another name.")
    check_can_write(path)
    return path


def iter_openers(recordings: Any) -> Iterator[tuple[str, Opener]]:
    """Yield a name and an opener of each recording.

    Args:
        recordings: A folder; or paths, `(name, recording)` pairs or [`Song`]s, in any iterable.

    Raises:
        OSError, ValueError: the folder is missing or holds no audio, or the iterable holds something else.
    """
    if isinstance(recordings, str | os.PathLike):
        recordings = songs_of_folder(recordings)
    for each in recordings:
        if isinstance(each, Song):
            yield each.metadata.name, each.audio.file
        elif isinstance(each, str | os.PathLike):
            yield os.fspath(each), partial(nullcontext, each)
        elif isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], str):
            yield each[0], partial(nullcontext, each[1])
        else:
            raise ValueError(f"recordings must hold paths or (name, recording) pairs, not a {type(each).__name__}.")


def embed_to_file(
    embed: Callable[[Any], JukeboxEmbeddings],
    openers: Iterable[tuple[str, Opener]],
    output_file: Path,
    settings: Mapping[str, Any],
    callback: Callable[[str, bool], None] | None = None,
) -> EmbeddedFiles:
    """Embed recordings one by one, each kept in a folder beside `output_file`, and join them at the end.

    Started again after an interruption, it continues with the first recording that is not there.

    Args:
        embed: Embeds one recording.
        settings: Everything that the numbers depend on, as JSON.
        callback: Called with the name of each recording after it, and whether it was embedded.

    Raises:
        ValueError: no recording can be embedded, or the folder holds embeddings with other settings.
        OSError: the folder is in use, or cannot be written.
    """
    folder = output_file.with_name(f"{output_file.name}.parts")
    with locked(folder):
        _check_settings(folder, settings)
        result, parts = EmbeddedFiles(output_file), []
        for name, opener in openers:
            try:
                with opener() as recording:
                    part = folder / f"{_identity(name, recording)}.npz"
                    known = part.is_file()
                    embedded = None if known else embed(recording)
            except READING_ERRORS as error:
                if isinstance(error, RuntimeError) and "LibsndfileError" not in type(error).__name__:
                    raise
                logger.warning("Skipping a recording that cannot be embedded: %s (%s)", name, error)
                result.skipped[name] = str(error)
            else:
                if embedded is not None:
                    _write_part(part, embedded)
                result.names.append(name)
                parts.append(part)
            if callback is not None:
                callback(name, name not in result.skipped)
        if not parts:
            name, reason = next(iter(result.skipped.items()), ("", "none was given."))
            raise ValueError(
                f"None of the recordings can be embedded; {f'the first, {name}: ' if name else ''}{reason}"
            )
        write_table(output_file, _Parts(result.names, parts, settings["pool"]), settings)
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.is_file():
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps(settings), "utf-8")
    elif read_json(path) != json.loads(json.dumps(settings)):
        raise ValueError(
            f"{folder} holds embeddings of an interrupted command with other settings or another model; repeat that "
            "command, or remove the folder."
        )


def _identity(name: str, recording: Any) -> str:
    """Return a hash of a recording's name and content; of a file, its size and time stand for the content."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape"))
    if isinstance(recording, str | os.PathLike):
        status = os.stat(user_path(recording))
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
    elif isinstance(recording, bytes):
        digest.update(recording)
    elif isinstance(recording, np.ndarray):
        digest.update(np.ascontiguousarray(recording).tobytes())
    return digest.hexdigest()[:32]


def _write_part(path: Path, embedded: JukeboxEmbeddings) -> None:
    arrays = [array[0] for array in embedded.pooled.values()]
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, length=np.int64(embedded.lengths[0]), **{str(at): array for at, array in enumerate(arrays)})


@dataclass(frozen=True)
class _Parts(Sequence[EmbeddedRecording]):
    """The recordings in a folder, read when they are asked for."""

    names: list[str]
    paths: list[Path]
    pools: Sequence[Pool]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        with np.load(self.paths[index], allow_pickle=False) as content:
            pooled = {pool: content[str(at)] for at, pool in enumerate(self.pools)}
            return EmbeddedRecording(self.names[index], int(content["length"]), pooled)
