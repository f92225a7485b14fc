"""The files of DAW sessions: REAPER's project text (.rpp), and DAWproject 1.0, which is XML in a zip file."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree


class Marker(NamedTuple):
    """A named position in seconds."""

    seconds: float
    name: str


@dataclass(frozen=True)
class Take:
    """Audio of a candidate: its source, its name within the session, and its length in seconds."""

    name: str
    source: Path
    file: str
    seconds: float


@dataclass(frozen=True)
class Track:
    """A track with takes of the same passage; the first is heard."""

    name: str
    takes: Sequence[Take]


@dataclass(frozen=True)
class Session:
    """A session with one item at the start of each track.

    Args:
        tempo: Beats per minute.
        tracks: Tracks, from top to bottom; the first is heard.
        notes: Text that belongs to the session.
    """

    name: str
    sampling_rate: int
    tempo: float
    tracks: Sequence[Track]
    markers: Sequence[Marker]
    notes: str


# REAPER --------------------------------------------------------------------------------------------------------------


def reaper_text(session: Session) -> str:
    """Return the text of a REAPER project; takes of a track are takes of one item."""
    return "\n".join(_reaper_lines(session)) + "\n"


def _reaper_lines(session: Session) -> Iterator[str]:
    yield '<REAPER_PROJECT 0.1 "7.0" 0'
    yield f"  SAMPLERATE {session.sampling_rate} 1 0"
    yield f"  TEMPO {session.tempo:g} 4 4"
    if session.notes:
        yield "  <NOTES 0 2"
        yield from (f"    |{line}" for line in session.notes.splitlines())
        yield "  >"
    for number, marker in enumerate(session.markers, start=1):
        yield f"  MARKER {number} {marker.seconds:.6f} {_quoted(marker.name)} 0"
    for number, track in enumerate(session.tracks):
        yield "  <TRACK"
        yield f"    NAME {_quoted(track.name)}"
        yield f"    MUTESOLO {int(number > 0)} 0 0"
        yield "    <ITEM"
        yield "      POSITION 0"
        yield f"      LENGTH {max(take.seconds for take in track.takes):.6f}"
        yield "      LOOP 0"
        yield "      ALLTAKES 0"
        for index, take in enumerate(track.takes):
            if index:
                yield "      TAKE"
            yield f"      NAME {_quoted(take.name)}"
            yield "      <SOURCE WAVE"
            yield f"        FILE {_quoted(take.file)}"
            yield "      >"
        yield "    >"
        yield "  >"
    yield ">"


def _quoted(text: str) -> str:
    """Return text as REAPER quotes it, with whichever of three quotation marks it does not hold, on one line."""
    text = " ".join(text.split())
    mark = next((mark for mark in "\"'`" if mark not in text), None)
    return f"`{text.replace('`', chr(39))}`" if mark is None else f"{mark}{text}{mark}"


# DAWproject ----------------------------------------------------------------------------------------------------------


def dawproject_xml(session: Session) -> bytes:
    """Return the project.xml of a DAWproject file; without takes there, a level is a group of a track per candidate."""
    ids = (f"id{number}" for number in itertools.count())
    project = ElementTree.Element("Project", version="1.0")
    _add(project, "Application", name="hf_jukebox", version="0.1")
    transport = _add(project, "Transport")
    _add(transport, "Tempo", unit="bpm", value=f"{session.tempo:g}", id=next(ids), name="Tempo")
    _add(transport, "TimeSignature", denominator="4", numerator="4", id=next(ids))
    structure, master = _add(project, "Structure"), next(ids)
    arrangement = _add(project, "Arrangement", id=next(ids), comment=_xml_text(session.notes))
    lanes = _add(arrangement, "Lanes", timeUnit="seconds", id=next(ids))
    for number, track in enumerate(session.tracks):
        group = _add(structure, "Track", contentType="tracks", loaded="true", id=next(ids), name=track.name)
        output = next(ids)
        _channel(group, output, master, "submix", number > 0, next(ids))
        for index, take in enumerate(track.takes):
            name = next(ids)
            lane = _add(group, "Track", contentType="audio", loaded="true", id=name, name=take.name)
            _channel(lane, next(ids), output, "regular", index > 0, next(ids))
            clips = _add(_add(lanes, "Lanes", track=name, id=next(ids)), "Clips", id=next(ids))
            seconds = f"{take.seconds:.6f}"
            clip = _add(clips, "Clip", time="0", duration=seconds, playStart="0", name=take.name)
            clip.set("contentTimeUnit", "seconds")
            audio = _add(clip, "Audio", channels="1", duration=seconds, sampleRate=f"{session.sampling_rate}")
            audio.set("id", next(ids))
            _add(audio, "File", path=take.file)
    if session.markers:
        markers = _add(arrangement, "Markers", timeUnit="seconds", id=next(ids))
        for marker in session.markers:
            _add(markers, "Marker", time=f"{marker.seconds:.6f}", name=_xml_text(marker.name))
    whole = _add(structure, "Track", contentType="audio", loaded="true", id=next(ids), name="Master")
    _channel(whole, master, None, "master", False, next(ids))
    _add(project, "Scenes")
    ElementTree.indent(project)
    return ElementTree.tostring(project, encoding="utf-8", xml_declaration=True)


def write_dawproject(path: Path, session: Session, project: bytes) -> None:
    """Write a DAWproject file with its audio."""
    metadata = ElementTree.Element("MetaData")
    _add(metadata, "Title").text = _xml_text(session.name)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        about = ElementTree.tostring(metadata, encoding="utf-8", xml_declaration=True)
        for name, content in (("metadata.xml", about), ("project.xml", project)):
            entry = zipfile.ZipInfo(name)  # with a fixed date, so that the same session is the same file
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
        for take in (take for track in session.tracks for take in track.takes):
            archive.write(take.source, take.file, zipfile.ZIP_STORED)


def _channel(
    parent: ElementTree.Element, name: str, destination: str | None, role: str, is_muted: bool, mute: str
) -> None:
    channel = _add(parent, "Channel", audioChannels="1" if role == "regular" else "2", role=role, solo="false", id=name)
    if destination is not None:
        channel.set("destination", destination)
    _add(channel, "Mute", value="true" if is_muted else "false", id=mute, name="Mute")


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _xml_text(text: str) -> str:
    """Return text without the control characters that XML 1.0 does not have."""
    return "".join(
        letter for letter in text if letter in "\t\n" or (ord(letter) >= 32 and letter not in "\ufffe\uffff")
    )
