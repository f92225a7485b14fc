"""Several songs from one file, each sampled to a folder of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from helpers.tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SongRequest, pick_candidate, read_songs
from hf_jukebox.sampling.windows import plan_windows

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def write(path: Path, songs: list[Any]) -> Path:
    lines = "\n".join(json.dumps(song) for song in songs)
    path.write_text(lines if path.suffix == ".jsonl" else yaml.safe_dump(songs))
    return path


@pytest.mark.parametrize("name", ["songs.yaml", "songs.jsonl"])
def test_songs_are_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [{"artist": "night bus", "seed": 3, "prompt": "a.wav"}, {"name": "b", "seconds": 2}])
    first, second = read_songs(path)
    assert first == SongRequest("song-1", artist="night bus", seed=3, prompt=str(tmp_path / "a.wav"))
    assert second == SongRequest("b", seconds=2)
    assert first.generator().initial_seed() == 3


def test_yaml_keeps_names_as_they_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "songs.yaml"
    path.write_text(
        "\ufeff- {name: 1, artist: 808, genre: 007, lyrics: 1_000, seconds: 2}\n"
        "- {name: No, artist: Yes, genre: 12:30, seconds: '2', seed: 010}\n"
        "- {name: 2026-11-25, artist: ~, genre: null, lyrics: 'null'}\n- {}\n",
        "utf-8",
    )
    assert read_songs(path) == [
        SongRequest("1", "808", "007", "1_000", seconds=2.0),
        SongRequest("No", "Yes", "12:30", seconds=2.0, seed=10),
        SongRequest("2026-11-25", lyrics="null"),
        SongRequest("song-4"),
    ]
    (tmp_path / "songs.jsonl").write_text('\ufeff{"name": 808, "artist": 1975, "seed": 3}\n\n', "utf-8")
    assert read_songs(tmp_path / "songs.jsonl") == [SongRequest("808", "1975", seed=3)]


def test_a_line_of_json_may_contain_unicode_line_breaks(tmp_path: Path) -> None:
    lyrics = "one\u2028two\x85three\u2029four"
    lines = [json.dumps({"name": name, "lyrics": lyrics}, ensure_ascii=False) for name in "ab"]
    (tmp_path / "songs.jsonl").write_bytes("\r\n".join(lines).encode())
    assert [song.lyrics for song in read_songs(tmp_path / "songs.jsonl")] == [lyrics, lyrics]


@pytest.mark.parametrize(
    ("title", "folder"),
    [
        ("My Song", "My-Song"),
        (" AC/DC: Live! ", "AC-DC-Live"),
        ("Ёлка 2", "Ёлка-2"),
        (".hidden", "hidden"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_name_that_cannot_be_a_folder_becomes_the_title(tmp_path: Path, title: str, folder: str) -> None:
    (song,) = read_songs(write(tmp_path / "songs.yaml", [{"name": title}]))
    assert (song.name, song.title) == (folder, title.strip())


def test_a_prompt_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    songs = [{"prompt": "~/a.wav"}, {"prompt": "~nobody-here/a.wav"}, {"prompt": ""}]
    prompts = [song.prompt for song in read_songs(write(tmp_path / "songs.jsonl", songs))]
    assert prompts == [str(tmp_path / "home" / "a.wav"), str(tmp_path / "~nobody-here" / "a.wav"), None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.yaml", b"- {artist: Beyonc\xe9}", r"a\.yaml is not UTF-8 text; save it as UTF-8"),
        ("a.jsonl", b'{"artist": "Beyonc\xe9"}', r"a\.jsonl is not UTF-8 text; save it as UTF-8"),
        ("a.yaml", "- {name: a}".encode("utf-16-le"), r"a\.yaml is not UTF-8 text"),
        ("a.yaml", b"songs:\n- {name: a}", r"a\.yaml holds no songs: each must be an entry of one list"),
        ("a.yaml", b"just text", "each must be an entry of one list"),
        ("a.yaml", b"", "holds no songs; give a list"),
        ("a.yaml", b"- &a {name: x}\n- *a\n", r"line 2: \*a repeats another part; write it out"),
        ("a.yaml", b"- " + b"[" * 10_000, "nest"),
        ("a.yaml", b"- {name: a, name: b}", "line 1: name is given twice"),
        ("a.yaml", b"- {[a, b]: c}", "line 1: expected 'name: value'"),
        ("a.yaml", b"- {name: !!python/object:os.system x, seed: !!int y}", "seed must be a whole number, not 'y'"),
        ("a.yaml", b"- {name: a}\n" * 1_000_000, "holds more than 40000 values"),
        ("a.jsonl", b'{"name": "a"}\n' * 1_000_000, "holds 1000000 songs; give at most 1000"),
        ("a.jsonl", b'{"name": "a"}\n[' + b"[" * 100_000, "line 2 cannot be read as JSON"),
        ("a.jsonl", b'["a"]', r"song 1: expected fields such as artist and genre, not \['a'\]"),
        ("a.jsonl", b'{"artist": true}', "artist must be text or a number, not True"),
        ("a.jsonl", b'{"seconds": NaN}', "seconds must be a finite number, not 'NaN'"),
    ],
)
def test_files_without_a_list_of_songs_are_refused_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_songs(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_chain_of_anchors_is_refused_before_it_grows(tmp_path: Path) -> None:
    laughs = "".join(f"- &l{n} [{', '.join([f'*l{n - 1}'] * 9) if n else 'ha'}]\n" for n in range(30))
    (tmp_path / "songs.yaml").write_text(laughs)
    with pytest.raises(ValueError, match=r"line 2: \*l0 repeats another part"):
        read_songs(tmp_path / "songs.yaml")


@pytest.mark.parametrize("name", ["", "a b", "../a", ".lock", "codes", "request.json", "x" * 300])
def test_a_song_made_in_python_needs_a_name_that_is_free_for_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        SongRequest(name)


@pytest.mark.parametrize(
    ("songs", "message"),
    [
        ([], "holds no songs"),
        ([{"artits": "x"}], r"song 1: there is no field 'artits'; there are name, artist"),
        ([{}, {"seconds": "ten"}], r"song 2: seconds must be a number, not 'ten'"),
        ([{"seed": True}], "seed must be a whole number, not 'true'"),
        ([{"seed": 1.5}], "seed must be a whole number, not '1.5'"),
        ([{"artist": ["a", "b"]}], r"artist must be text or a number, not \['a', 'b'\]"),
        ([{"seconds": "nan"}], "seconds must be a finite number"),
        ([{"seconds": "1e999"}], "seconds must be a finite number"),
        ([{"seconds": -3}], r"song 1: seconds must be above 0 and at most 86400, not -3"),
        ([{"prompt_seconds": 0}], "prompt_seconds must be above 0"),
        ([{"total_seconds": 1e12}], "total_seconds must be above 0 and at most 86400"),
        ([{"offset_seconds": -1}], "offset_seconds must be between 0 and 86400"),
        ([{"seed": -1}], "seed must be between 0 and 18446744073709551615, not -1"),
        ([{"seed": 10**400}], "seed must be between 0 and"),
        (["a", {}], "song 1: expected fields such as artist and genre, not 'a'"),
        ([{"name": "!!!"}], "must hold letters or digits, as of a folder"),
        ([{"name": "Level_0"}], "cannot name a song's folder, since it is reserved"),
        ([{"name": "surprise"}], "cannot name a song's folder, since it is reserved"),
        ([{"name": "Export"}], "cannot name a song's folder, since it is reserved"),
        ([{"name": "a"}, {"name": "A"}], "a, A is the name of more than one song"),
        ([{"name": "My Song"}, {"name": "My-Song"}], "My-Song is the name of more than one song"),
        ([{"name": "a"} for _ in range(1001)], "holds 1001 songs; give at most 1000 at a time"),
        ([{"name": "../elsewhere"}], "as of a folder"),
        ([{"name": ".."}], "as of a folder"),
        ([{"name": "a"}, {"name": "a"}], "a is the name of more than one song"),
    ],
)
def test_errors_name_the_song_and_the_field(tmp_path: Path, songs: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_songs(write(tmp_path / "songs.yaml", songs))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- artist: [")
    with pytest.raises(ValueError, match=r"a\.yaml cannot be read") as error:
        read_songs(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)
    (tmp_path / "a.txt").write_text("la")
    with pytest.raises(ValueError, match=r"must end in \.yaml or \.jsonl"):
        read_songs(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        read_songs(tmp_path / "none.yaml")


def test_each_song_of_a_batch_becomes_a_run_of_its_own(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "prompt.wav", noise_audio(codes_in_s(4)).numpy(), RATE, subtype="FLOAT")
    songs = [
        SongRequest("primed", "night bus", prompt=str(tmp_path / "prompt.wav"), seed=1, seconds=codes_in_s(8)),
        SongRequest("made-up", "the lanterns", seed=2, seconds=codes_in_s(5), title="Made up!"),
    ]
    callback = lambda each: each.level == 2 or each.filled < 9  # noqa: E731
    pipe.sample_songs(songs, tmp_path / "batch", num_waveforms_per_prompt=2, levels=(2, 1), callback=callback)
    sketch = JukeboxRun.open(tmp_path / "batch" / "made-up")  # its top level is finished
    assert sketch.codes[2].shape == (2, 5) and not sketch.is_finished and list(sketch.audio_paths()) == [2]
    batch = pipe.resume_run(tmp_path / "batch")
    assert batch.codes[1].shape == (4, 32)

    assert "Made up!, 1" in (tmp_path / "batch" / "index.html").read_text("utf-8")
    primed, made_up = (JukeboxRun.open(tmp_path / "batch" / song.name) for song in songs)
    assert primed.is_finished and made_up.is_finished
    assert torch.equal(primed.codes[1], batch.codes[1][:2]) and torch.equal(made_up.codes[1], batch.codes[1][2:, :20])
    assert not torch.equal(primed.codes[2][0], primed.codes[2][1])
    assert len(soundfile.read(tmp_path / "batch" / "made-up" / "level_1" / "item_1.wav")[0]) == 5 * TOP_HOP
    assert len(list((tmp_path / "batch").rglob("*.wav"))) == 8

    # The same songs as alone: the top level of a piece shorter than a window does not depend on its length.
    alone = pipe(artist="the lanterns", audio_length_in_s=codes_in_s(5), levels=2, generator=songs[1].generator())
    assert torch.equal(made_up.codes[2][:1], alone.codes[2])
    pick_candidate(tmp_path / "batch" / "made-up", 1)
    longer = pipe.continue_run(tmp_path / "batch" / "made-up", codes_in_s(7))
    assert longer.codes[1].shape == (1, 28)
    for command in (pipe.upsample_run, lambda folder: pipe.continue_run(folder, 1.0)):
        with pytest.raises(ValueError, match=r"batch of songs.*primed"):
            command(tmp_path / "batch")


def test_songs_need_different_names_also_from_python(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    for names, message in (((), "`songs` holds no songs"), (("a", "b", "A"), "a, A is the name of more than one song")):
        with pytest.raises(ValueError, match=message):
            pipe.sample_songs([SongRequest(name, seconds=codes_in_s(4)) for name in names], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_song_beside_a_longer_one_is_its_own(tmp_path: Path) -> None:
    pipe = tiny_pipeline("tiny_lyrics_prior")
    song = SongRequest("song", "night bus", lyrics="la la " * 9, seed=1, seconds=codes_in_s(100))
    for name, others in (("alone", []), ("beside", [SongRequest("other", seed=2, seconds=codes_in_s(200))])):
        pipe.sample_songs([song, *others], tmp_path / name, levels=(2,), output_type="latent")
    alone, beside = (JukeboxRun.open(tmp_path / name / "song") for name in ("alone", "beside"))
    assert alone.request.songs == beside.request.songs
    last = plan_windows(100, pipe.prior_2.config.n_ctx, alone.request.hops[2], 0)[-1]
    added = last.start + last.context
    assert added > 90 and torch.equal(alone.codes[2][:, :added], beside.codes[2][:, :added])
