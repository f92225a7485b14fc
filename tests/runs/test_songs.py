"""Several songs from one file, each to a folder of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, files
from hf_jukebox.runs.folder import JukeboxRun
from hf_jukebox.runs.songs import SongRequest, read_songs


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_sync", lambda path: None)


def write(path: Path, songs: list[dict[str, Any]]) -> Path:
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


@pytest.mark.parametrize(
    ("songs", "message"),
    [
        ([], "holds no songs"),
        ([{"artits": "x"}], r"song 1: there is no field 'artits'; there are name, artist"),
        ([{}, {"seconds": "ten"}], r"song 2: seconds must be a float, not 'ten'"),
        ([{"seed": True}], "seed must be a int"),
        ([{"artist": 3}], "artist must be a str"),
        ([{"name": "../elsewhere"}], "as of a folder"),
        ([{"name": ".."}], "as of a folder"),
        ([{"name": "a"}, {"name": "a"}], "a is the name of more than one song"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, songs: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_songs(write(tmp_path / "songs.yaml", songs))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
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
        SongRequest("made-up", "the lanterns", seed=2, seconds=codes_in_s(5)),
    ]
    callback = lambda each: each.level == 2 or each.done < 9  # noqa: E731
    pipe.draw_songs(songs, tmp_path / "batch", num_waveforms_per_prompt=2, levels=(2, 1), callback=callback)
    sketch = JukeboxRun.open(tmp_path / "batch" / "made-up")  # the top level is there to be heard already
    assert sketch.codes[2].shape == (2, 5) and not sketch.is_finished and list(sketch.audio_paths()) == [2]
    batch = pipe.resume(tmp_path / "batch")
    assert batch.codes[1].shape == (4, 32)

    primed, made_up = (JukeboxRun.open(tmp_path / "batch" / song.name) for song in songs)
    assert primed.is_finished and made_up.is_finished
    assert torch.equal(primed.codes[1], batch.codes[1][:2]) and torch.equal(made_up.codes[1], batch.codes[1][2:, :20])
    assert not torch.equal(primed.codes[2][0], primed.codes[2][1])
    assert len(soundfile.read(tmp_path / "batch" / "made-up" / "level_1" / "item_1.wav")[0]) == 5 * TOP_HOP
    assert len(list((tmp_path / "batch").rglob("*.wav"))) == 8

    # The same songs as alone: the top level of a piece shorter than a window does not depend on its length.
    alone = pipe(artist="the lanterns", audio_length_in_s=codes_in_s(5), levels=2, generator=songs[1].generator())
    assert torch.equal(made_up.codes[2][:1], alone.codes[2])
    JukeboxRun.open(tmp_path / "batch" / "made-up").pick(1)
    longer = pipe.continue_run(tmp_path / "batch" / "made-up", codes_in_s(7))
    assert longer.codes[1].shape == (1, 28)
    for command in (pipe.upsample_run, lambda folder: pipe.continue_run(folder, 1.0)):
        with pytest.raises(ValueError, match=r"batch of songs.*primed"):
            command(tmp_path / "batch")
