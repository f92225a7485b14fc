"""Page on which the longest agreements of pieces with a catalogue are heard side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..audio import write_audio
from ..catalogue.search import Agreement
from ..modeling_vqvae import JukeboxVQVAE
from ..report import Candidate, Grid, ListeningPage, write_listening_page
from .copies import CHANGED, CopyReport

_AROUND_IN_S = 0.5  # heard before and after an agreement, where both have it


def write_copies_page(
    folder: Path, report: CopyReport, codes: Sequence[np.ndarray], vqvae: JukeboxVQVAE
) -> Path | None:
    """Write `folder/index.html`, which plays every agreement of a report beside the song that it agrees with.

    Both are decoded from their codes, so no recording is needed.

    Args:
        codes: Codes of the pieces of the report, `[T]` each.

    Returns:
        Path of the page; None if nothing agrees.

    Raises:
        OSError: a file cannot be written.
    """
    rows, candidates = [], []
    for number, (piece, piece_codes) in enumerate(zip(report.pieces, codes, strict=True)):
        for share, found, as_long in zip(CHANGED, piece.agreements, piece.shares, strict=True):
            if found is None:
                continue
            kind = "equal" if share == 0 else f"{found.agreeing / found.length:.0%} equal"
            seconds = report.catalogue.format.seconds(report.level, found.length)
            rows.append(f"{Path(piece.name).name}: {seconds:.2f} s, {kind}; as long in {as_long:.0%} of other songs")
            name = f"piece_{number}_{'exact' if share == 0 else 'changed'}"
            candidates += _pair(folder, name, report, piece_codes, found, vqvae)
    if not candidates:
        return None
    level = report.level
    settings = {
        "Catalogue": report.catalogue.folder.name,
        "Level": str(level),
        "Compared with": f"{report.null.lengths.shape[1]} excerpts of {report.null.source}",
    }
    for number, share in enumerate(CHANGED):
        longest = report.null.percentile(number, 99) * report.catalogue.format.seconds(level, 1)
        settings["Equal in 99 % of them" if share == 0 else f"{1 - share:.0%} equal"] = f"up to {longest:.2f} s"
    grid = Grid(rows, ["The piece", "The catalogue"])
    return write_listening_page(folder, ListeningPage("Longest agreements", candidates, settings, grid=grid))


def _pair(
    folder: Path, name: str, report: CopyReport, codes: np.ndarray, found: Agreement, vqvae: JukeboxVQVAE
) -> list[Candidate]:
    """Write both sides of an agreement as audio, with the same time around it, and return them for the page."""
    level, rate = report.level, vqvae.config.sampling_rate
    song = report.catalogue.codes(found.song, level)
    around = report.catalogue.format.codes(level, _AROUND_IN_S)
    before = min(around, found.start, found.song_start)
    after = min(around, len(codes) - found.start - found.length, len(song) - found.song_start - found.length)
    title = report.catalogue.songs[found.song].name
    pair = []
    for side, values, start in (("piece", codes, found.start), ("song", song, found.song_start)):
        cut = torch.from_numpy(values[start - before : start + found.length + after].astype(np.int64))
        with torch.inference_mode():
            audio = vqvae.decode(cut[None].to(vqvae.device), level)[0].float().cpu().clamp(-1, 1)
        path = Path("audio") / f"{name}_{side}.wav"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder / path, audio.numpy(), rate)
        seconds = report.catalogue.format.seconds(level, start)
        heading = title if side == "song" else "The piece"
        pair.append(Candidate(heading, {level: path}, {"From": f"{seconds:.2f} s"}))
    return pair
