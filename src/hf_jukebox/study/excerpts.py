"""Excerpts of songs that a model is evaluated on: codes, labels and, where there are recordings, audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..files.text import user_path
from ..modeling_vqvae import JukeboxVQVAE
from ..training.data import CodeCache, open_recordings, songs_of_folder
from ..training.data.code_cache import INDEX
from ..training.data.songs import SongMetadata


@dataclass(frozen=True)
class Excerpt:
    """Part of a song.

    Attributes:
        song: Name and labels.
        codes: Codes of each level, finest first, `[T_level]`.
        audio: Samples `[T]` of the recording; None where only codes are known.
        offset, total_length: Position in the song and length of the song, in samples.
    """

    song: SongMetadata
    codes: list[torch.Tensor]
    audio: np.ndarray | None
    offset: int
    total_length: int


def read_excerpts(
    data: str | os.PathLike[str],
    vqvae: JukeboxVQVAE,
    length: int,
    most: int,
    seed: int = 0,
    on_excerpt: Callable[[str], None] | None = None,
) -> list[Excerpt]:
    """Read excerpts of `length` samples from a folder of recordings or of codes, one per song, at random positions.

    Args:
        length: Samples, a multiple of the top hop.
        most: Number of songs to use, evenly spaced over the data.

    Raises:
        OSError: there are no songs, or one cannot be read.
        ValueError: no song is that long, or the codes are of another VQ-VAE.
    """
    folder, random = user_path(data), np.random.default_rng(seed)
    hops, rate = vqvae.config.hop_lengths, vqvae.config.sampling_rate
    top = hops[-1]
    excerpts: list[Excerpt] = []

    def starts(totals: Sequence[int]) -> list[tuple[int, int]]:
        """Return songs and the first sample of their excerpts, whole top-level codes."""
        usable = [number for number, total in enumerate(totals) if total >= length]
        if not usable:
            raise ValueError(
                f"No song in {folder} has {length / rate:.2f} s, the length of an excerpt; choose a smaller one."
            )
        chosen = [usable[place] for place in np.unique(np.linspace(0, len(usable) - 1, most).round().astype(int))]
        return [(song, int(random.integers((totals[song] - length) // top + 1)) * top) for song in chosen]

    if (folder / INDEX).is_file():
        cache = CodeCache(folder)
        cache.check(vqvae)
        for number, start in starts([song.num_samples // top * top for song in cache.songs]):
            song = cache.songs[number]
            codes = [cache.read(song, level, start // hop, length // hop) for level, hop in enumerate(hops)]
            excerpts.append(Excerpt(song.metadata, codes, None, start, song.num_samples))
            if on_excerpt is not None:
                on_excerpt(song.metadata.name)
        return excerpts
    recordings, _ = open_recordings(songs_of_folder(folder), rate)
    for number, start in starts([recording.num_samples for recording in recordings]):
        recording = recordings[number]
        audio = recording.read_mono(start, length)
        with torch.inference_mode():
            encoded = vqvae.encode(torch.from_numpy(audio).to(vqvae.device)[None])
        metadata = recording.song.metadata
        excerpts.append(Excerpt(metadata, [each[0].cpu() for each in encoded], audio, start, recording.num_samples))
        if on_excerpt is not None:
            on_excerpt(metadata.name)
    return excerpts
