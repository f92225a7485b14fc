"""Sessions for DAWs, read by a parser of REAPER projects that is not ours, and checked against DAWproject's schema."""

import errno
import time
import zipfile
from pathlib import Path

import pytest
import rpp
import soundfile
import torch
import xmlschema
from helpers.command_line import run as command
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxRun, export_run, pipeline_sampling
from hf_jukebox.report import LyricTiming
from hf_jukebox.runs.daw_formats import Marker, Session, dawproject_xml, reaper_text
from hf_jukebox.runs.run_page import timing_path

# The part of the format that a session uses, after https://github.com/bitwig/dawproject (version 1.0).
DAWPROJECT = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:simpleType name="unit"><xs:restriction base="xs:string">
    <xs:enumeration value="beats"/><xs:enumeration value="seconds"/></xs:restriction></xs:simpleType>
  <xs:simpleType name="role"><xs:restriction base="xs:string"><xs:enumeration value="regular"/>
    <xs:enumeration value="master"/><xs:enumeration value="submix"/></xs:restriction></xs:simpleType>
  <xs:simpleType name="content"><xs:restriction base="xs:string">
    <xs:enumeration value="audio"/><xs:enumeration value="tracks"/></xs:restriction></xs:simpleType>
  <xs:attributeGroup name="named"><xs:attribute name="name"/><xs:attribute name="comment"/></xs:attributeGroup>
  <xs:attributeGroup name="referenced">
    <xs:attributeGroup ref="named"/><xs:attribute name="id" type="xs:ID"/></xs:attributeGroup>
  <xs:attributeGroup name="timed"><xs:attributeGroup ref="referenced"/>
    <xs:attribute name="timeUnit" type="unit"/><xs:attribute name="track" type="xs:IDREF"/></xs:attributeGroup>
  <xs:element name="Track"><xs:complexType>
    <xs:sequence><xs:element ref="Channel" minOccurs="0"/>
      <xs:element ref="Track" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
    <xs:attributeGroup ref="referenced"/><xs:attribute name="loaded" type="xs:boolean"/>
    <xs:attribute name="contentType"><xs:simpleType><xs:list itemType="content"/></xs:simpleType></xs:attribute>
  </xs:complexType></xs:element>
  <xs:element name="Channel"><xs:complexType>
    <xs:sequence><xs:element name="Mute" minOccurs="0"><xs:complexType><xs:attributeGroup ref="referenced"/>
      <xs:attribute name="value" type="xs:boolean"/></xs:complexType></xs:element></xs:sequence>
    <xs:attributeGroup ref="referenced"/><xs:attribute name="audioChannels" type="xs:int"/>
    <xs:attribute name="destination" type="xs:IDREF"/><xs:attribute name="role" type="role"/>
    <xs:attribute name="solo" type="xs:boolean"/></xs:complexType></xs:element>
  <xs:element name="Lanes"><xs:complexType>
    <xs:choice minOccurs="0" maxOccurs="unbounded"><xs:element ref="Lanes"/><xs:element ref="Clips"/></xs:choice>
    <xs:attributeGroup ref="timed"/></xs:complexType></xs:element>
  <xs:element name="Clips"><xs:complexType><xs:sequence>
    <xs:element name="Clip" maxOccurs="unbounded"><xs:complexType><xs:sequence>
      <xs:element name="Audio"><xs:complexType><xs:sequence>
        <xs:element name="File"><xs:complexType><xs:attribute name="path" use="required"/></xs:complexType>
        </xs:element></xs:sequence>
        <xs:attributeGroup ref="timed"/><xs:attribute name="channels" type="xs:int" use="required"/>
        <xs:attribute name="duration" type="xs:double" use="required"/>
        <xs:attribute name="sampleRate" type="xs:int" use="required"/></xs:complexType></xs:element></xs:sequence>
      <xs:attributeGroup ref="named"/><xs:attribute name="time" type="xs:double" use="required"/>
      <xs:attribute name="duration" type="xs:double"/><xs:attribute name="playStart" type="xs:double"/>
      <xs:attribute name="contentTimeUnit" type="unit"/></xs:complexType></xs:element></xs:sequence>
    <xs:attributeGroup ref="timed"/></xs:complexType></xs:element>
  <xs:element name="Project"><xs:complexType><xs:sequence>
    <xs:element name="Application"><xs:complexType><xs:attribute name="name" use="required"/>
      <xs:attribute name="version" use="required"/></xs:complexType></xs:element>
    <xs:element name="Transport" minOccurs="0"><xs:complexType><xs:sequence>
      <xs:element name="Tempo" minOccurs="0"><xs:complexType><xs:attributeGroup ref="referenced"/>
        <xs:attribute name="unit" fixed="bpm" use="required"/><xs:attribute name="value"/></xs:complexType></xs:element>
      <xs:element name="TimeSignature" minOccurs="0"><xs:complexType><xs:attributeGroup ref="referenced"/>
        <xs:attribute name="denominator" type="xs:int" use="required"/>
        <xs:attribute name="numerator" type="xs:int" use="required"/></xs:complexType></xs:element>
    </xs:sequence></xs:complexType></xs:element>
    <xs:element name="Structure" minOccurs="0"><xs:complexType><xs:sequence>
      <xs:element ref="Track" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>
    <xs:element name="Arrangement" minOccurs="0"><xs:complexType><xs:sequence>
      <xs:element ref="Lanes" minOccurs="0"/>
      <xs:element name="Markers" minOccurs="0"><xs:complexType><xs:sequence>
        <xs:element name="Marker" maxOccurs="unbounded"><xs:complexType><xs:attributeGroup ref="named"/>
          <xs:attribute name="time" type="xs:double" use="required"/></xs:complexType></xs:element></xs:sequence>
        <xs:attributeGroup ref="timed"/></xs:complexType></xs:element></xs:sequence>
      <xs:attributeGroup ref="referenced"/></xs:complexType></xs:element>
    <xs:element name="Scenes" minOccurs="0"><xs:complexType/></xs:element></xs:sequence>
    <xs:attribute name="version" use="required"/></xs:complexType></xs:element>
</xs:schema>"""

LYRICS = 'Line "one"\n\nLine `two`'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with a prompt, two candidates, seams and lyrics with their times."""
    folder = tmp_path_factory.mktemp("runs") / "My song"
    pipe = tiny_pipeline("tiny_labelled_prior")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_sampling, "update_page", lambda *args: None)
        prompt = {"array": noise_audio(codes_in_s(3)).numpy(), "sampling_rate": 22050}
        pipe(
            prompt,
            artist="night bus",
            lyrics=LYRICS,
            audio_length_in_s=codes_in_s(8),
            num_waveforms_per_prompt=2,
            upsampling="parallel",
            output_dir=folder,
        )
        pipe.continue_run(folder, codes_in_s(9))
    characters = torch.tensor([-1, -1, 0, 3, 12, 14, 2, 13, 13], dtype=torch.int32)
    path = timing_path(JukeboxRun.open(folder), 0)
    assert path is not None
    LyricTiming(LYRICS, characters, 22050 / 128, torch.zeros(1, 1, dtype=torch.uint8)).save(path)
    return folder


def names(element: rpp.Element, tag: str) -> list[str]:
    return [child[1] for child in element if isinstance(child, list) and child[0] == tag]


def test_a_session_for_reaper_has_levels_as_tracks_and_candidates_as_takes(run: Path, tmp_path: Path) -> None:
    (path,) = export_run(run, "reaper", tmp_path)
    project = rpp.loads(path.read_text("utf-8"))
    assert (path.name, project.tag) == ("My song.rpp", "REAPER_PROJECT")
    tracks = project.findall("TRACK")
    assert [names(track, "NAME") for track in tracks] == [["Level 0"], ["Level 1"], ["Level 2"]]
    for level, track in enumerate(tracks):
        (item,) = track.findall("ITEM")
        assert names(item, "NAME") == ["Candidate 0", "Candidate 1"]
        for song, source in enumerate(item.findall("SOURCE")):
            (file,) = names(source, "FILE")
            audio = JukeboxRun.open(run).audio_paths()[level][song]
            assert (tmp_path / file).read_bytes() == audio.read_bytes()
            assert soundfile.info(tmp_path / file).duration == pytest.approx(float(names(item, "LENGTH")[0]), abs=1e-5)


def test_markers_show_prompt_seams_lyrics_and_continuations(run: Path, tmp_path: Path) -> None:
    project = rpp.loads(export_run(run, "reaper", tmp_path)[0].read_text("utf-8"))
    markers = [(float(child[2]), child[3]) for child in project if isinstance(child, list) and child[0] == "MARKER"]
    assert markers == sorted(markers)
    times = {name: round(seconds * 22050 / 128, 2) for seconds, name in markers}
    assert times["Prompt ends"] == 3 and times["Continued"] == 8
    assert times['Line "one"'] == 2 and times["Line `two`"] == 4
    seams = [seconds for seconds, name in markers if name == "Seam of level 0"]
    known = JukeboxRun.open(run).song_codes(0)[0]
    assert seams and seams == pytest.approx(sorted(seam.position * 8 / 22050 for seam in known.seams[0]), abs=1e-6)


def test_a_dawproject_fits_its_schema_and_holds_its_audio(run: Path, tmp_path: Path) -> None:
    result = command("export", run, "--to", "dawproject", "-o", tmp_path)
    assert result.output == f"{tmp_path / 'My song.dawproject'}\n"
    with zipfile.ZipFile(tmp_path / "My song.dawproject") as archive:
        project = archive.read("project.xml").decode("utf-8")
        xmlschema.XMLSchema(DAWPROJECT).validate(project)
        root = xmlschema.XMLResource(project).root
        files = [file.get("path") for file in root.iter("File")]
        assert files == [f"My song audio/level_{level}-{song}.wav" for level in range(3) for song in range(2)]
        assert set(archive.namelist()) == {"project.xml", "metadata.xml", *files}
        assert archive.read(files[0]) == JukeboxRun.open(run).audio_paths()[0][0].read_bytes()
        muted = [(track.get("name"), track.find("Channel/Mute").get("value")) for track in root.iter("Track")]
    assert [name for name, value in muted if value == "false"] == ["Level 0", *["Candidate 0"] * 3, "Master"]
    assert {"Prompt ends", "Continued", 'Line "one"'} <= {marker.get("name") for marker in root.iter("Marker")}


def test_an_edited_session_is_kept(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = export_run(run, "reaper", tmp_path)
    assert export_run(run, "reaper", tmp_path) == [path]
    path.write_text("edited")
    (other,) = export_run(run, "reaper", tmp_path)
    assert (path.read_text(), other.name) == ("edited", "My song-2.rpp")
    assert "My song-2 audio/level_0-0.wav" in other.read_text("utf-8")
    edited = tmp_path / "My song-2 audio" / "level_0-0.wav"
    edited.write_bytes(b"edited too")
    assert export_run(run, "reaper", tmp_path)[0].name == "My song-3.rpp" and edited.read_bytes() == b"edited too"
    (archive,) = export_run(run, "dawproject", tmp_path)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert export_run(run, "dawproject", tmp_path) == [archive]
    archive.write_bytes(b"edited")
    assert export_run(run, "dawproject", tmp_path)[0].name == "My song-2.dawproject"
    assert archive.read_bytes() == b"edited"


def test_a_session_that_cannot_be_written_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    result = command("export", run, "--to", "reaper", "-o", tmp_path)
    assert result.exit_code == 2 and "level_0-0.wav cannot be written: No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_any_text_can_be_a_name() -> None:
    texts = ["plain", 'a "b"', "'a' \"b\"", "`a` 'b' \"c\"", "two\nlines", "<tag> & \x07 bell", "雲"]
    session = Session("s", 44100, 97.5, [], [Marker(float(n), text) for n, text in enumerate(texts)], "a\n>\nb")
    project = rpp.loads(reaper_text(session))
    read = [child[3] for child in project if isinstance(child, list) and child[0] == "MARKER"]
    assert read == [" ".join(text.split()) if text != texts[3] else "'a' 'b' \"c\"" for text in texts]
    xmlschema.XMLSchema(DAWPROJECT).validate(dawproject_xml(session).decode("utf-8"))


def test_a_run_without_audio_is_refused(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe(audio_length_in_s=codes_in_s(4), output_dir=tmp_path / "run", callback=lambda progress: False)
    result = command("export", tmp_path / "run", "--to", "reaper")
    assert result.exit_code == 2 and "no finished level yet; resume it first" in result.stderr
