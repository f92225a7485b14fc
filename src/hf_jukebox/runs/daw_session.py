"""A run as a session for a DAW: levels as tracks, candidates as takes, and markers for what happens in the piece."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..audio import read_audio
from ..audio.tempo import estimate_tempo
from ..files.atomic import replacing
from ..report import LyricTiming
from .contents import RunReader
from .daw_formats import Marker, Session, Take, Track, dawproject_xml, reaper_text, write_dawproject
from .new_files import is_same, numbered, write_beside
from .run_page import prompt_codes, timing_path

_SUFFIXES = {"reaper": "rpp", "dawproject": "dawproject"}
SESSIONS = tuple(_SUFFIXES)
_TEMPO = 120.0  # of a session, where the piece has none


def write_session(run: RunReader, file_format: str, folder: Path) -> list[Path]:
    """Write the session of a run to a folder; return the path of the file to open.

    A session for REAPER is a text file beside a folder of audio; one for DAWproject is a single file. A session that
    differs from one that is there already, because that was edited for instance, gets a name of its own.

    Raises:
        OSError: it cannot be written.
        ValueError: the run has no audio yet.
    """
    session = session_of(run)
    path = folder / f"{session.name}.{_SUFFIXES[file_format]}"
    if file_format == "dawproject":
        return [write_beside(path, lambda unfinished: write_dawproject(unfinished, session, dawproject_xml(session)))]
    for target in numbered(path):
        session = _renamed(session, target.stem)
        text = reaper_text(session).encode("utf-8")
        takes = {folder / take.file: take.source for track in session.tracks for take in track.takes}
        if all(is_same(file, source) for file, source in takes.items() if os.path.lexists(file)) and (
            not os.path.lexists(target) or (target.is_file() and target.read_bytes() == text)
        ):
            break
    _write_reaper(target, text, takes)
    return [target]


def _write_reaper(path: Path, text: bytes, takes: Mapping[Path, Path]) -> None:
    """Write a project and the audio that is not there yet; if a file cannot be written, remove those before it."""
    written: list[Path] = []
    try:
        for file, source in takes.items():
            if not file.exists():
                written.append(file)
                with replacing(file) as unfinished:
                    shutil.copyfile(source, unfinished)
        with replacing(path) as unfinished:
            unfinished.write_bytes(text)
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        for folder in {file.parent for file in takes}:
            with suppress(OSError):  # it is missing, or holds other files
                folder.rmdir()
        raise


def _renamed(session: Session, name: str) -> Session:
    """Return a session with another name, which the folder of its audio has too."""
    tracks = [
        replace(track, takes=[replace(take, file=f"{name} audio/{Path(take.file).name}") for take in track.takes])
        for track in session.tracks
    ]
    return replace(session, name=name, tracks=tracks)


def session_of(run: RunReader) -> Session:
    """Return the session of a run.

    Raises:
        ValueError: no level is finished yet.
    """
    audio = run.finished_audio()
    name, second = run.folder.resolve().name, run.sampling_rate / run.step.model.hop_lengths[-1]
    tracks = [
        Track(
            f"Level {level}",
            [
                Take(
                    f"Candidate {song}", path, f"{name} audio/level_{level}-{song}.wav", run.song_length(song) / second
                )
                for song, path in enumerate(paths)
            ],
        )
        for level, paths in sorted(audio.items())
    ]
    finest = audio[min(audio)][0]
    tempo = estimate_tempo(read_audio(finest, run.sampling_rate), run.sampling_rate)
    song = run.request.songs[0]
    labels = [song.artist and f"Artist: {song.artist}", song.genre and f"Genre: {song.genre}", song.lyrics]
    markers = sorted({*_prompt_ends(run), *_seams(run), *_lyrics(run)})
    if tempo is not None:
        markers.insert(0, Marker(0.0, f"About {tempo:.0f} beats per minute"))
    return Session(
        name=name,
        sampling_rate=run.sampling_rate,
        tempo=_TEMPO if tempo is None else round(tempo, 2),
        tracks=tracks,
        markers=markers,
        notes="\n".join(text for text in labels if text),
    )


def _prompt_ends(run: RunReader) -> Iterator[Marker]:
    """Yield the end of the prompts, and the starts of continuations."""
    second = run.sampling_rate / run.step.model.hop_lengths[-1]
    for codes in sorted(set(prompt_codes(run.steps)) - {0}):
        yield Marker(codes / second, "Prompt ends")
    for before, step in zip(run.steps, run.steps[1:], strict=False):
        if step.action == "continue":
            yield Marker(before.request.top_codes / second, "Continued")


def _seams(run: RunReader) -> Iterator[Marker]:
    """Yield the seams of parallel upsampling in the first song."""
    for level, known in enumerate(run.song_codes(0)):
        second = run.sampling_rate / run.step.model.hop_lengths[level]
        for seam in known.seams[0]:
            yield Marker(seam.position / second, f"Seam of level {level}")


def _lyrics(run: RunReader) -> Iterator[Marker]:
    """Yield the lines of the lyrics of the first song where they are sung, if that is known."""
    path = timing_path(run, 0)
    if path is None or not path.is_file():
        return
    timing = LyricTiming.load(path)
    start, reached = 0, -1
    lines = {}
    for line in timing.text.split("\n"):
        lines[start] = line.strip()
        start += len(line) + 1
    for code, character in enumerate(timing.characters.tolist()):
        begin = max((first for first in lines if first <= character), default=-1)
        if begin > reached:  # each line once, where it is first sung
            reached = begin
            if lines[begin]:
                yield Marker(code / timing.codes_per_second, lines[begin])
