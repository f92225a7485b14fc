"""A run as a session for a DAW: levels as tracks, candidates as takes, and markers for what happens in the piece."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ..audio import read_audio
from ..audio.tempo import estimate_tempo
from ..files.atomic import replacing
from ..report import LyricTiming
from .contents import RunReader
from .daw_formats import Marker, Session, Take, Track, dawproject_xml, reaper_text, write_dawproject
from .run_page import prompt_codes, timing_path

SESSIONS = ("reaper", "dawproject")
_TEMPO = 120.0  # of a session, where the piece has none


def write_session(run: RunReader, file_format: str, folder: Path) -> list[Path]:
    """Write the session of a run to a folder; return the path of the file to open.

    A session for REAPER is a text file beside a folder of audio; one for DAWproject is a single file.

    Raises:
        OSError: it cannot be written.
        ValueError: the run has no audio yet.
    """
    session = session_of(run)
    if file_format == "dawproject":
        path = folder / f"{session.name}.dawproject"
        with replacing(path) as unfinished:
            write_dawproject(unfinished, session, dawproject_xml(session))
        return [path]
    for take in (take for track in session.tracks for take in track.takes):
        target = folder / take.file
        with replacing(target) as unfinished:
            shutil.copyfile(take.source, unfinished)
    path = folder / f"{session.name}.rpp"
    with replacing(path) as unfinished:
        unfinished.write_text(reaper_text(session), encoding="utf-8", newline="\n")
    return [path]


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
