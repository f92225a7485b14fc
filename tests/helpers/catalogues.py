"""Catalogues of made-up songs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_jukebox import JukeboxPipeline, JukeboxVQVAE
from hf_jukebox.catalogue.folder import Catalogue, CatalogueSong, CodeFormat, write_catalogue
from hf_jukebox.hierarchy import encoder_fingerprint

TOP = 2


def catalogue_of(
    folder: Path,
    songs: Sequence[Sequence[np.ndarray]],
    model: JukeboxPipeline | JukeboxVQVAE | None = None,
    levels: Sequence[int] = (TOP,),
) -> Catalogue:
    """Write a catalogue of songs, each given by its codes per level, finest first.

    Args:
        model: VQ-VAE that is said to have made the codes, or its pipeline; a made-up one of the tiny shape by default.
    """
    fingerprint, hops, size = "made up", [8, 32, 128], 64
    if model is not None:
        vqvae = model if isinstance(model, JukeboxVQVAE) else model.vqvae
        fingerprint, size = encoder_fingerprint(vqvae), vqvae.config.codebook_size
        hops = list(vqvae.config.hop_lengths)
    names = [CatalogueSong(f"song {number}", len(codes[-1])) for number, codes in enumerate(songs)]
    return write_catalogue(
        folder, CodeFormat(fingerprint, 22050, hops, size), levels, names, lambda song, level: songs[song][level]
    )


def top_catalogue(
    folder: Path, songs: Sequence[np.ndarray], model: JukeboxPipeline | JukeboxVQVAE | None = None
) -> Catalogue:
    """Write a catalogue of top-level codes."""
    nothing = np.zeros(0, np.uint16)
    return catalogue_of(folder, [[nothing, nothing, codes] for codes in songs], model)


def longest_common(piece: np.ndarray, song: np.ndarray, start: int = 0) -> int:
    """Return the length of the longest stretch of a piece that also occurs in a song and ends after `start`."""
    lengths, longest = np.zeros(len(song) + 1, int), 0
    for position, code in enumerate(piece):
        lengths[1:] = np.where(song == code, lengths[:-1] + 1, 0)
        longest = max(longest, lengths.max()) if position >= start else longest
    return int(longest)
