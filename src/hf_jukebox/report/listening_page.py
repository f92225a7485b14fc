"""The listening page as data, and the file that shows it."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np

from ..files.atomic import replacing
from .lyric_timing import LyricTiming
from .thumbnails import AudioPicture, data_uri, draw_surprise, render_audio

FILE_NAME = "index.html"
_NO_CHARACTER = 0xFFFF  # code without a character, in the data of the page
_PARTS = ("page_theme.css", "page.css", "page_lyrics.js", "page.js", "page_sound.js")
_BARS, _BARS_IN_GRID = 240, 80
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Candidate:
    """One piece, with the audio of each level.

    Args:
        title: Heading.
        audio: Sound file of each level, relative to the page's folder, such as `level_0/item_2.wav`.
        labels: Name to value, such as artist and genre; empty values are not shown.
        lyrics: Lyrics to show without timing.
        sung: Lyrics with their timing, which light up with the music.
        note: One sentence below the lyrics, such as the reason why they do not light up.
        prompt_in_s: Length of the prompt that it begins with, in seconds; its end is marked.
        surprise: Bits of each code of the whole piece `[T]`, drawn as a curve under the waveform.
    """

    title: str
    audio: Mapping[int, str | os.PathLike[str]]
    labels: Mapping[str, str] = field(default_factory=dict)
    lyrics: str = ""
    sung: LyricTiming | None = None
    note: str = ""
    prompt_in_s: float = 0.0
    surprise: np.ndarray | None = None


@dataclass(frozen=True)
class Grid:
    """Row and column headings of a page that compares; its candidates are given row by row."""

    rows: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True)
class ListeningPage:
    """Content of a page. All texts are escaped, so that markup in them is shown as text.

    Args:
        title: Title of the page.
        candidates: Pieces to show.
        settings: Name to value, shown at the top of the page.
        note: One sentence on the state of the run.
        grid: Headings of a layout side by side.
        command: Commands that make the same music again, one per line, to copy.
    """

    title: str
    candidates: Sequence[Candidate]
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    grid: Grid | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ValueError("A listening page needs at least one candidate.")
        for candidate in self.candidates:
            if not candidate.audio:
                raise ValueError(
                    f"The candidate {candidate.title!r} has no audio; give the file of at least one level."
                )
        if self.grid is not None and len(self.grid.rows) * len(self.grid.columns) != len(self.candidates):
            raise ValueError(
                f"A grid of {len(self.grid.rows)} rows and {len(self.grid.columns)} columns does not hold "
                f"{len(self.candidates)} candidates."
            )


def write_listening_page(folder: str | os.PathLike[str], page: ListeningPage) -> Path:
    """Write `folder/index.html`, which plays the audio beside it without a server or network.

    Returns:
        Path of the page, which is replaced atomically.

    Raises:
        ValueError: a sound file lies outside the folder, or is not audio.
        OSError: a sound file is missing, or the page cannot be written.
    """
    folder = Path(folder)
    html = _render(folder, page)
    path = folder / FILE_NAME
    with replacing(path) as unfinished:
        unfinished.write_text(html, encoding="utf-8")
    return path


@dataclass(frozen=True)
class _Track:
    """Audio of a level, as the template shows it."""

    level: int
    url: str
    name: str  # to save it under
    picture: AudioPicture


def _render(folder: Path, page: ListeningPage) -> str:
    bars = _BARS if page.grid is None else _BARS_IN_GRID
    return _template().render(
        page=page,
        cards=[_card(folder, candidate, bars) for candidate in page.candidates],
        data=[_timing(candidate.sung) for candidate in page.candidates],
        **{name.replace(".", "_"): _source(name) for name in _PARTS},
    )


def _card(folder: Path, candidate: Candidate, bars: int) -> dict[str, Any]:
    """Return the template's variables for a candidate; the coarsest level comes first, as it was sampled first."""
    tracks = [
        _Track(level, _url(path), _file_name(candidate, level, path), render_audio(folder / path, bars))
        for level, path in sorted(candidate.audio.items(), reverse=True)
    ]
    sung = candidate.sung if candidate.sung is not None and candidate.sung.text else None
    return {
        "candidate": candidate,
        "tracks": tracks,
        "duration": max(track.picture.duration for track in tracks),
        "prompt": min(100 * candidate.prompt_in_s / max(track.picture.duration for track in tracks), 100.0),
        "lyrics": candidate.lyrics if sung is None else sung.text,
        "surprise": None if candidate.surprise is None else draw_surprise(candidate.surprise, bars),
        "map": None if sung is None else data_uri(sung.overview.numpy()),
    }


def _timing(sung: LyricTiming | None) -> dict[str, Any] | None:
    """Return the character sung at each code, as base64 of one little-endian uint16 per code."""
    if sung is None or not sung.text:
        return None
    characters = np.where(sung.characters < 0, _NO_CHARACTER, sung.characters).astype("<u2")
    packed = base64.b64encode(characters.tobytes()).decode("ascii")
    return {"codesPerSecond": sung.codes_per_second, "characters": packed}


def _url(path: str | os.PathLike[str]) -> str:
    relative = PurePosixPath(Path(path).as_posix())
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"{path} must lie in the page's folder; give its path relative to that folder.")
    return quote(os.fsencode(str(relative)))


def _file_name(candidate: Candidate, level: int, path: str | os.PathLike[str]) -> str:
    """Return a name to save a file under, which is clear without its folder: `candidate-1-level-0.wav`."""
    title = re.sub(r"\W+", "-", candidate.title).strip("-").lower()[:_LONGEST_NAME]
    return f"{title or 'piece'}-level-{level}{PurePosixPath(Path(path).as_posix()).suffix}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _source(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["clock"] = _clock
    return environment.from_string(_source("page.html"))
