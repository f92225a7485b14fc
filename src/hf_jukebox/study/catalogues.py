"""Catalogues built from the codes of data sets."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from ..catalogue.folder import Catalogue, CatalogueSong, CodeFormat, HashedCatalogue, open_songs, write_catalogue
from ..catalogue.folder import write_hashed_catalogue as _write_hashed
from ..files.text import user_path
from ..training.data.code_cache import CodeCache

PathLike = str | os.PathLike[str]


def build_catalogue(
    codes: PathLike | Sequence[PathLike],
    output: PathLike,
    levels: Sequence[int] | None = None,
    on_song: Callable[[str], None] | None = None,
) -> Catalogue:
    """Build a catalogue from the codes of one data set or several, as `hf-jukebox encode` writes them.

    Args:
        codes: Folder of codes, or a list of them.
        output: New folder of the catalogue, which appears when it is complete.
        levels: Levels to hold; the top level by default, which decides on the music.
        on_song: Called with the name of each song of each level.

    Raises:
        OSError: codes are missing, or the folder exists or cannot be written.
        ValueError: there are no codes, they are of different VQ-VAEs, or a level does not exist.
    """
    folders = [codes] if isinstance(codes, str | os.PathLike) else list(codes)
    caches = [CodeCache(user_path(folder)) for folder in folders]
    if not caches:
        raise ValueError("No codes to build a catalogue from; name a folder of codes.")
    for cache in caches[1:]:
        if cache.fingerprint != caches[0].fingerprint:
            raise ValueError(
                f"{cache.folder} and {caches[0].folder} hold codes of different VQ-VAEs; build one catalogue for each."
            )
    config = caches[0].config
    top = config.num_levels - 1
    wanted = sorted({top} if levels is None else set(levels))
    if not wanted or not set(wanted) <= set(range(top + 1)):
        raise ValueError(f"The codes have the levels 0 to {top}, not {list(levels or [])}; name some of these.")
    hops = list(config.hop_lengths)
    songs = [
        CatalogueSong(song.metadata.name, song.num_samples // hops[-1]) for cache in caches for song in cache.songs
    ]
    ends = list(accumulate(len(cache.songs) for cache in caches))

    def read(number: int, level: int) -> np.ndarray:
        cache_number = bisect_right(ends, number)
        cache = caches[cache_number]
        song = cache.songs[number - (ends[cache_number] - len(cache.songs))]
        if on_song is not None:
            on_song(song.metadata.name)
        length = songs[number].top_codes * (hops[-1] // hops[level])
        return cache.read(song, level, 0, length).numpy()

    code_format = CodeFormat(caches[0].fingerprint, config.sampling_rate, hops, config.codebook_size)
    return write_catalogue(user_path(output), code_format, wanted, songs, read)


def hash_catalogue(catalogue: PathLike, output: PathLike, longest_in_s: float = 2.0) -> HashedCatalogue:
    """Write a catalogue that can be shared without its songs: salted hashes of their stretches.

    Agreements with it can be limited to `longest_in_s` or more.

    Raises:
        OSError: there is no catalogue, or the folder exists or cannot be written.
        ValueError: the catalogue is damaged, or `longest_in_s` is too short or longer than its songs.
    """
    return _write_hashed(open_songs(catalogue), user_path(output), longest_in_s)
