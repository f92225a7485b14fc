"""The passages of a catalogue that sound most like those of a piece, by an embedding of audio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..catalogue.folder import Catalogue
from ..modeling_vqvae import JukeboxVQVAE

Embed = Callable[[torch.Tensor], torch.Tensor]
"""From audio `[B, T]` at the VQ-VAE's rate to vectors `[B, D]`."""

_BATCH = 8


@dataclass(frozen=True)
class Passage:
    """The pair of passages of a piece and a catalogue that sound most alike.

    Attributes:
        start_in_s: Start of the passage in the piece.
        song: Number of the song in the catalogue.
        song_start_in_s: Start of the passage in the song.
        similarity: Cosine of their vectors.
        share_as_close: Share of excerpts of the catalogue's songs that are as close to another song, with one added for
            the piece itself.
    """

    start_in_s: float
    song: int
    song_start_in_s: float
    similarity: float
    share_as_close: float


@torch.inference_mode()
def nearest_passages(
    vqvae: JukeboxVQVAE,
    catalogue: Catalogue,
    codes: Sequence[np.ndarray],
    embed: Embed,
    seconds: float = 5.0,
    level: int | None = None,
    excerpts: int = 50,
    seed: int = 0,
    on_song: Callable[[str], None] | None = None,
) -> list[Passage]:
    """Compare all passages of pieces with all of a catalogue, both decoded from their codes.

    Passages overlap by half, the last one by more, so that it ends with its song. Each song is decoded once, so memory
    does not grow with the catalogue.

    Args:
        codes: Codes of each piece, `[T]`.
        embed: Function from audio `[B, T]` to vectors `[B, D]`.
        seconds: Length of a passage.
        level: Level of the codes; the catalogue's highest by default.
        excerpts: Passages of the catalogue's songs, each compared with all other songs.
        on_song: Called with the name of each song after it is compared.

    Raises:
        ValueError: a piece is shorter than a passage, or the catalogue does not hold the level.
    """
    level = catalogue.levels[-1] if level is None else level
    if level not in catalogue.levels:
        raise ValueError(f"{catalogue.folder} holds levels {catalogue.levels}, not {level}; build it with that one.")
    length, rate = catalogue.format.codes(level, seconds), vqvae.config.sampling_rate
    if not codes or min(map(len, codes)) < length or length < 2:
        raise ValueError(f"A passage of {seconds:g} s is longer than a piece; choose smaller seconds.")
    queries, owners = [], []
    for piece in codes:
        queries.append(torch.cat(list(_vectors(vqvae, piece, level, length, embed))))
        owners += [-1] * len(queries[-1])
    random = np.random.default_rng(seed)
    long_enough = [n for n in range(len(catalogue.songs)) if len(catalogue.codes(n, level)) >= length]
    for song in random.choice(long_enough, excerpts) if len(long_enough) > 1 else []:
        whole = catalogue.codes(int(song), level)
        start = int(random.integers(len(whole) - length + 1))
        queries.append(torch.cat(list(_vectors(vqvae, whole[start : start + length], level, length, embed))))
        owners.append(int(song))
    wanted = F.normalize(torch.cat(queries), dim=1)  # [queries, D]
    best, where = torch.full((len(wanted),), -2.0), torch.zeros(len(wanted), 2, dtype=torch.long)
    owned = torch.tensor(owners)
    for song in long_enough:
        vectors = torch.cat(list(_vectors(vqvae, catalogue.codes(song, level), level, length, embed)))
        similarity, passage = (wanted @ F.normalize(vectors, dim=1).T).max(dim=1)
        is_better = (similarity > best) & (owned != song)
        best[is_better] = similarity[is_better]
        where[is_better] = torch.stack([torch.full_like(passage, song), passage], 1)[is_better]
        if on_song is not None:
            on_song(catalogue.songs[song].name)
    null, hop = best[owned >= 0], vqvae.config.hop_lengths[level] / rate
    found, first = [], 0
    for piece, query in zip(codes, queries, strict=False):
        row = first + int(best[first : first + len(query)].argmax())
        share = float((null >= best[row]).sum() + 1) / (len(null) + 1)
        song, passage = where[row].tolist()
        start = _starts(len(piece), length)[row - first]
        song_start = _starts(len(catalogue.codes(song, level)), length)[passage]
        found.append(Passage(start * hop, song, song_start * hop, float(best[row]), share))
        first += len(query)
    return found


def _vectors(vqvae: JukeboxVQVAE, codes: np.ndarray, level: int, length: int, embed: Embed) -> Iterator[torch.Tensor]:
    """Yield the vectors `[B, D]` of passages of `length` codes, at `_starts`."""
    audio = torch.cat([block[0] for block in vqvae.iter_decode(torch.from_numpy(codes.astype(np.int64))[None], level)])
    hop = vqvae.config.hop_lengths[level]
    audio = audio.float().cpu()
    starts = _starts(len(codes), length)
    for first in range(0, len(starts), _BATCH):
        passages = [audio[start * hop : (start + length) * hop] for start in starts[first : first + _BATCH]]
        yield embed(torch.stack(passages)).float().cpu()


def _starts(num_codes: int, length: int) -> list[int]:
    """Return the first codes of passages, each half a passage after the one before, and the last at the end."""
    last = num_codes - length
    return [*range(0, last, length // 2), last]
