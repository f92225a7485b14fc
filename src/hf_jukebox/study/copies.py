"""Search for copies: the longest agreements of pieces with a catalogue, beside those of songs that are not copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..catalogue.folder import Catalogue
from ..catalogue.search import Agreement, longest_agreements
from ..files.text import user_path
from ..modeling_vqvae import JukeboxVQVAE
from ..runs.contents import RunReader
from ..training.data.code_cache import CodeCache
from .recordings import Recording, encode_recording, open_recordings

PathLike = str | os.PathLike[str]

CHANGED = (0.0, 0.2)  # shares of codes that may differ
_EXCERPTS = 100
_PERCENTILES = (50, 90, 99, 100)


@dataclass(frozen=True)
class NullDistribution:
    """Longest agreements of songs that are not copies, with the same catalogue.

    Attributes:
        source: What the songs are.
        lengths: Codes of the longest agreement of each excerpt for each share of changed codes, `[changed, excerpts]`.
    """

    source: str
    lengths: np.ndarray

    def share_as_long(self, changed: int, length: int) -> float:
        """Return the share of excerpts that agree at least as long, with one added for the piece itself.

        The piece counts as one more excerpt, so that the share is a valid p-value (Phipson and Smyth, Statistical
        Applications in Genetics and Molecular Biology, 2010).
        """
        lengths = self.lengths[changed]
        return float((lengths >= length).sum() + 1) / (len(lengths) + 1)

    def percentile(self, changed: int, percent: float) -> float:
        """Return a percentile of the lengths, in codes."""
        return float(np.percentile(self.lengths[changed], percent))


def null_distribution(
    catalogue: Catalogue,
    level: int,
    length: int,
    held_out: CodeCache | None = None,
    excerpts: int = _EXCERPTS,
    seed: int = 0,
    on_excerpt: Callable[[], None] | None = None,
) -> NullDistribution:
    """Measure the longest agreements of excerpts of `length` codes that are not copies.

    Args:
        held_out: Codes of songs that are not in the catalogue; by default excerpts of the catalogue's own songs are
            compared with all others.
        excerpts: Number of excerpts, from songs at random.

    Raises:
        OSError: codes cannot be read.
        ValueError: no song is as long as the piece, or the held-out codes are of another VQ-VAE.
    """
    random = np.random.default_rng(seed)
    ratio = catalogue.format.ratio(level)
    if held_out is None:
        totals = [song.top_codes * ratio for song in catalogue.songs]
        source = "songs of the catalogue, each against all others"
        read = catalogue.codes
    else:
        catalogue.check_fingerprint(held_out.fingerprint)
        totals = [song.num_samples // catalogue.format.hop_lengths[-1] * ratio for song in held_out.songs]
        source = f"held-out songs of {held_out.folder}"

        def read(song: int, level: int) -> np.ndarray:
            return held_out.read(held_out.songs[song], level, 0, totals[song]).numpy()

    least = min(length, max(totals, default=0))
    usable = [song for song, total in enumerate(totals) if total >= least > 0]
    if not usable or (held_out is None and len(catalogue.songs) < 2):
        raise ValueError(
            "There are no songs to compare the piece with; give codes of songs that are not in the catalogue, held_out."
        )
    lengths = np.zeros((len(CHANGED), excerpts), np.int64)
    for number in range(excerpts):
        song = int(random.choice(usable))
        start = int(random.integers(totals[song] - least + 1))
        codes = read(song, level)[start : start + least]
        found = longest_agreements(catalogue, level, codes, CHANGED, song if held_out is None else None)
        lengths[:, number] = [0 if each is None else each.length for each in found]
        if on_excerpt is not None:
            on_excerpt()
    return NullDistribution(source, lengths)


@dataclass(frozen=True)
class PieceCheck:
    """Result of a check.

    Attributes:
        name: Name of the piece.
        length: Its length in codes.
        agreements: The longest agreement for each share of changed codes in `CHANGED`; None where there is none.
        shares: The share of the null distribution that agrees at least as long, for each.
    """

    name: str
    length: int
    agreements: list[Agreement | None]
    shares: list[float]


@dataclass(frozen=True)
class CopyReport:
    """Checks of pieces against a catalogue at one level."""

    catalogue: Catalogue
    level: int
    pieces: list[PieceCheck]
    null: NullDistribution

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, lengths and positions in seconds."""
        codes, level = self.catalogue.format, self.level
        null: dict[str, Any] = {"source": self.null.source, "excerpts": self.null.lengths.shape[1]}
        for number, share in enumerate(CHANGED):
            null[_title(share)] = {
                f"percentile_{percent}_in_s": round(codes.seconds(level, 1) * self.null.percentile(number, percent), 4)
                for percent in _PERCENTILES
            }
        pieces = []
        for piece in self.pieces:
            entry: dict[str, Any] = {"name": piece.name, "seconds": round(codes.seconds(level, piece.length), 3)}
            for share, agreement, as_long in zip(CHANGED, piece.agreements, piece.shares, strict=True):
                entry[_title(share)] = None
                if agreement is not None:
                    entry[_title(share)] = {
                        "seconds": round(codes.seconds(level, agreement.length), 4),
                        "codes": agreement.length,
                        "equal_codes": agreement.agreeing,
                        "at_s": round(codes.seconds(level, agreement.start), 3),
                        "song": self.catalogue.songs[agreement.song].name,
                        "song_at_s": round(codes.seconds(level, agreement.song_start), 3),
                        "share_of_null_as_long": round(as_long, 4),
                    }
            pieces.append(entry)
        return {"catalogue": str(self.catalogue.folder), "level": level, "null": null, "pieces": pieces}


def check_pieces(
    catalogue: Catalogue,
    level: int,
    names: Sequence[str],
    codes: Sequence[np.ndarray],
    held_out: CodeCache | None = None,
    excerpts: int = _EXCERPTS,
    on_excerpt: Callable[[], None] | None = None,
) -> CopyReport:
    """Find the longest agreements of pieces with a catalogue, and compare them with those of songs that are no copies.

    Args:
        names, codes: Name and codes `[T]` of each piece.
        held_out, excerpts: See [`null_distribution`]; excerpts are as long as the longest piece.

    Raises:
        OSError, ValueError: see [`null_distribution`]; a ValueError also if the catalogue does not hold the level, or a
            piece has no codes.
    """
    if level not in catalogue.levels:
        raise ValueError(
            f"{catalogue.folder} holds the levels {catalogue.levels}, not {level}; build it with that one."
        )
    if not codes or min(map(len, codes)) == 0:
        raise ValueError("There are no codes to check; give pieces that have some at this level.")
    null = null_distribution(catalogue, level, max(map(len, codes)), held_out, excerpts, on_excerpt=on_excerpt)
    pieces = []
    for name, piece in zip(names, codes, strict=True):
        found = longest_agreements(catalogue, level, piece, CHANGED)
        shares = [null.share_as_long(n, 0 if each is None else each.length) for n, each in enumerate(found)]
        pieces.append(PieceCheck(name, len(piece), found, shares))
    return CopyReport(catalogue, level, pieces, null)


def read_pieces(pieces: Sequence[PathLike], vqvae: JukeboxVQVAE, level: int) -> tuple[list[str], list[np.ndarray]]:
    """Read the codes of runs and recordings at a level.

    Args:
        pieces: Folders of runs, whose codes are read, and recordings, which are encoded from their start.

    Returns:
        Name and codes `[T]` of each song.

    Raises:
        OSError, ValueError: a piece cannot be read, has no codes at the level, or is a run of another kind of VQ-VAE.
    """
    names, codes = [], []
    rate = vqvae.config.sampling_rate
    for path in map(user_path, pieces):
        if path.is_dir():
            run = RunReader.open(path)
            model = run.step.model
            if (model.sampling_rate, model.hop_lengths) != (rate, list(vqvae.config.hop_lengths)):
                raise ValueError(f"{path} was sampled with a model of other levels; name that model.")
            found = list(run.level_codes(level).numpy())
            names += [str(path)] if len(found) == 1 else [f"{path}, {number}" for number in range(len(found))]
            codes += found
        else:
            (recording,) = open_recordings(str(path), None, rate)
            names.append(str(path))
            codes.append(_encoded(vqvae, recording, level))
        if len(codes[-1]) == 0:
            raise ValueError(f"{path} has no codes at level {level}; give a longer piece, or one that is sampled.")
    return names, codes


def _encoded(vqvae: JukeboxVQVAE, recording: Recording, level: int) -> np.ndarray:
    """Return the codes `[T]` of a recording at a level, of whole codes of the top level as in a catalogue."""
    top_hop = vqvae.config.hop_lengths[-1]
    length = recording.num_samples // top_hop * top_hop
    if length == 0:
        return np.zeros(0, np.int64)
    with torch.inference_mode():
        return encode_recording(vqvae.eval(), recording, level, vqvae.device, most_samples=length).numpy()


def _title(changed: float) -> str:
    return "exact" if changed == 0 else f"changed_{round(100 * changed)}_percent"
