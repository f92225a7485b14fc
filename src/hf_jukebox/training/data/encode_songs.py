"""Encoding of a data set on all processes, resumable after an interruption."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env

from ...configuration_jukebox import JukeboxVQVAEConfig
from ...hierarchy import encoder_fingerprint
from ...modeling_vqvae import JukeboxVQVAE
from .code_cache import (
    INDEX,
    CodeCache,
    ShardEntry,
    ShardHeader,
    check_fingerprint,
    read_header,
    shard_name,
    tensor_name,
    write_index,
    write_shard,
)
from .encoding import encode_blocks
from .prefetch import prefetch
from .recordings import READING_ERRORS, Recording, open_recording
from .songs import Song, SongMetadata

logger = logging.getLogger(__name__)

T = TypeVar("T")


def encode_songs(
    songs: Iterable[Song],
    vqvae: JukeboxVQVAE,
    output_dir: str | os.PathLike[str],
    *,
    songs_per_shard: int = 16,
    num_threads: int = 2,
    on_song: Callable[[str], None] | None = None,
) -> CodeCache:
    """Encode songs at every level into a cache of codes.

    Stereo is mixed 0.5 and 0.5, and a song is cut to whole top-level codes. The processes that Accelerate has launched
    take turns shard by shard. Complete shards are kept, so an interrupted run resumes when it is started again, with
    any number of processes; it repeats at most one shard per process. Recordings that cannot be read are skipped,
    logged and named in the cache.

    Args:
        songs: Songs of a folder, a data set or a stream; each process must get the same ones in the same order.
        vqvae: VQ-VAE on the device to encode on.
        output_dir: Folder of the cache, created if it does not exist.
        songs_per_shard: Songs per shard, which an interruption may cost each process. A new number encodes all again.
        num_threads: Recordings decoded at the same time, ahead of the encoder.
        on_song: Called with the name of each song of this process after it is encoded.

    Returns:
        The finished cache.

    Raises:
        ValueError: the folder holds codes of another VQ-VAE, or none of the songs can be read.
        OSError: the folder cannot be written.
    """
    folder, fingerprint = Path(output_dir), encoder_fingerprint(vqvae)
    # Without the flag, each CPU process would count as the only one.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("codes-*.safetensors")):
        header = read_header(path)
        if header is not None:
            check_fingerprint(folder, header.fingerprint, fingerprint)
    state.wait_for_everyone()  # no process writes before all have checked
    count, metadata = 0, []
    for number, group in enumerate(_groups(songs, songs_per_shard)):
        if number % state.num_processes == state.process_index:
            _encode_shard(group, folder / shard_name(number), vqvae.eval(), fingerprint, num_threads, on_song)
        metadata += [song.metadata for song in group]
        count = number + 1
    state.wait_for_everyone()
    if state.is_main_process:
        _finish(folder, vqvae, count, metadata)
    state.wait_for_everyone()
    cache = CodeCache(folder)
    if not cache.songs:
        name, reason = next(iter(cache.unreadable.items()), ("", "no song was given"))
        raise ValueError(f"None of the {len(cache.metadata)} songs can be encoded; the first, {name}: {reason}")
    return cache


def _finish(folder: Path, vqvae: JukeboxVQVAE, count: int, metadata: list[SongMetadata]) -> None:
    headers = [read_header(folder / shard_name(number)) for number in range(count)]
    complete = [header for header in headers if header is not None]
    if len(complete) < count or not count:
        raise OSError(
            f"{count - len(complete)} of {count} files of codes in {folder} are missing; run the encoding again."
        )
    write_index(folder, vqvae.config, complete, metadata)
    for abandoned in folder.glob(".codes-*.tmp"):  # by a process that was killed while writing
        abandoned.unlink()


def _encode_shard(
    songs: list[Song],
    path: Path,
    vqvae: JukeboxVQVAE,
    fingerprint: str,
    num_threads: int,
    on_song: Callable[[str], None] | None,
) -> None:
    names = [song.metadata.name for song in songs]
    done = read_header(path)
    if done is None or done.names != names:
        path.with_name(INDEX).unlink(missing_ok=True)  # the index is stale until encoding finishes
        header, tensors = ShardHeader(fingerprint, []), {}
        tasks = [partial(_read_song, song, vqvae.config) for song in songs]
        for index, (name, reading) in enumerate(zip(names, prefetch(tasks, num_threads), strict=True)):
            try:
                recording, audio = reading.result()
            except READING_ERRORS as error:
                header.entries.append(ShardEntry(name, None, str(error)))
                logger.warning("Skipping a file that cannot be read: %s (%s)", name, error)
            else:
                header.entries.append(ShardEntry(name, recording.num_samples))
                tensors.update(_encode(vqvae, audio, index))
            if on_song is not None:
                on_song(name)
        write_shard(path, header, tensors)
    elif on_song is not None:
        for name in names:
            on_song(name)


def _read_song(song: Song, config: JukeboxVQVAEConfig) -> tuple[Recording, np.ndarray]:
    """Return a song's recording and its mono audio `[T]`, T a multiple of the top hop."""
    hop = config.hop_lengths[-1]
    recording = open_recording(song, config.sampling_rate)
    length = recording.num_samples // hop * hop
    if not length:
        raise ValueError(f"it has {recording.num_samples} samples, less than one code.")
    return recording, recording.read_mono(0, length)


def _encode(vqvae: JukeboxVQVAE, audio: np.ndarray, shard_index: int) -> dict[str, torch.Tensor]:
    dtype = torch.int16 if vqvae.config.codebook_size <= 2**15 else torch.int32
    levels = range(vqvae.config.num_levels)
    codes = encode_blocks(vqvae, torch.from_numpy(audio), 0, len(audio), levels)  # [T_level] each
    return {tensor_name(shard_index, level): codes[level].to("cpu", dtype) for level in levels}


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
