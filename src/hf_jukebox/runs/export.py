"""The songs of a run as audio files to pass on: in any format, with where they come from, at a loudness."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..audio import read_audio
from ..audio.blocks import WITH_BLOCKS, add_data
from ..audio.formats import FORMATS, write_format
from ..audio.loudness import PEAK_LIMIT, check_loudness, gain_to
from ..audio.mark import data_metadata
from ..files.text import user_path
from .audio_files import WrittenAudio
from .contents import RunReader
from .daw_session import SESSIONS, write_session
from .new_files import write_beside
from .provenance import comment_fields
from .song_files import song_data

logger = logging.getLogger(__name__)

_FULL_SCALE = 32767 / 32768


def export_run(
    run_dir: str | os.PathLike[str],
    file_format: str = "flac",
    output_dir: str | os.PathLike[str] | None = None,
    *,
    level: int | None = None,
    songs: Sequence[int] | None = None,
    loudness: float | None = None,
    metadata: bool = True,
) -> list[Path]:
    """Write the songs of a run as audio files that say where they come from, or as a session; return their paths.

    No file is replaced: if there is another one of a name, the new one is called `name-2`, and so on.

    Args:
        run_dir: Folder of the run.
        file_format: `"wav"`, `"flac"`, `"mp3"`, `"ogg"` or `"opus"`. The first two also hold the codes, so that
            `open_song` opens them as the run. `"reaper"` and `"dawproject"` write a session for a DAW, with all
            levels and candidates.
        output_dir: Folder of the files; the folder `export` in the run by default.
        level: Level of the audio; the finest that has audio by default. Another one is part of the files' names.
        songs: Songs by their number; all by default.
        loudness: Integrated loudness to bring the files to, in LUFS (ITU-R BS.1770), up to a true peak of -1 dB; the
            audio of the run keeps its own.
        metadata: Write model, seed, labels, commands and codes; otherwise only the mark that a machine made them.

    Raises:
        OSError: there is no such run, or the files cannot be written.
        ValueError: there is no such format, level or song.
    """
    check_export(file_format, loudness)
    run = RunReader.open(user_path(run_dir))
    folder = run.folder / "export" if output_dir is None else user_path(output_dir)
    if file_format in SESSIONS:
        return write_session(run, file_format, folder)
    found = run.finished_audio()
    finest = min(found)
    level = finest if level is None else level
    if level not in found:
        raise ValueError(f"{run.folder} has no audio at level {level}; it has levels {', '.join(map(str, found))}.")
    written = []
    for song in _chosen(run, songs):
        source = found[level][song]
        samples = read_audio(source, run.sampling_rate)
        if clipped := _count_clipped(samples):
            logger.warning("%s clips: %d samples reach full scale.", source, clipped)
        if loudness is not None:
            samples = _brought_to(loudness, samples, run.sampling_rate, source)
        name = _stem(run, song) if level == finest else f"{_stem(run, song)}-level_{level}"
        comments = comment_fields(run, song, level, is_whole=metadata)
        with_codes = metadata and f".{file_format}" in WITH_BLOCKS
        if with_codes and _is_edited(run, song, source):
            logger.warning("%s was edited, so the codes of the run, which are of other audio, are left out.", source)
            with_codes = False
        data = _data(run, song, file_format, comments, with_codes)
        write = partial(_write, file_format, samples, run.sampling_rate, comments, data)
        written.append(write_beside(folder / f"{name}.{file_format}", write))
    return written


def _write(
    file_format: str,
    samples: np.ndarray,
    sampling_rate: int,
    comments: Mapping[str, str],
    data: bytes | None,
    path: Path,
) -> None:
    write_format(path, file_format, samples, sampling_rate, comments)
    if data is not None:
        add_data(path, data)


def _is_edited(run: RunReader, song: int, source: Path) -> bool:
    """Return whether the audio of a song is not that of its codes any more."""
    return WrittenAudio(source.parents[1]).is_edited(source, run.sampling_rate, run.audio_lengths(song))


def _data(run: RunReader, song: int, file_format: str, comments: Mapping[str, str], is_whole: bool) -> bytes | None:
    """Return the data of a song's file: the song, or in a wav file the comments alone; None for other formats."""
    if f".{file_format}" not in WITH_BLOCKS:
        return None
    if is_whole:
        return song_data(run, song, comments)
    return save({}, data_metadata(comments)) if file_format == "wav" else None


def check_export(file_format: str, loudness: float | None) -> None:
    """Check a format and a loudness before a run is read.

    Raises:
        ValueError, OSError: there is no such format, or the loudness cannot be reached or measured.
    """
    if file_format not in (*FORMATS, *SESSIONS):
        raise ValueError(f"There is no format {file_format!r}; use one of {', '.join((*FORMATS, *SESSIONS))}.")
    check_loudness(loudness)


def _chosen(run: RunReader, songs: Sequence[int] | None) -> Sequence[int]:
    count = len(run.request.songs)
    chosen = range(count) if songs is None else songs
    for song in chosen:
        if not 0 <= song < count:
            raise ValueError(f"{run.folder} holds the songs 0 to {count - 1}; there is no {song}.")
    return chosen


def _stem(run: RunReader, song: int) -> str:
    """Return the name of a song's file: that of its folder in a batch, or of the run, and its number among several."""
    part = run.song_folder(song)
    name, number = (run.folder.resolve().name, song) if part is None else (part.name, song - part.first)
    count = len(run.request.songs) if part is None else part.last - part.first + 1
    return name if count == 1 else f"{name}-{number}"


def _count_clipped(samples: np.ndarray) -> int:
    return int((np.abs(samples) >= _FULL_SCALE).sum())


def _brought_to(target: float, samples: np.ndarray, sampling_rate: int, path: Path) -> np.ndarray:
    try:
        gain = gain_to(target, samples, sampling_rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if gain.is_limited:
        logger.warning(
            "%s is brought to %.1f LUFS instead of %g, so that its true peak stays at %g dB.",
            path,
            gain.loudness + gain.decibels,
            target,
            PEAK_LIMIT,
        )
    return (samples * np.float32(gain.factor)).astype(np.float32)
