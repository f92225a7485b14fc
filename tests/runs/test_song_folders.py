"""The song folders of a batch belong to whoever changed them last, and a batch never overwrites them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress, SongRequest, pick_candidate
from hf_jukebox.files.atomic import locked

pytestmark = pytest.mark.usefixtures("no_fsync")

SONGS = [SongRequest("a", seconds=codes_in_s(12), seed=1), SongRequest("b", seconds=codes_in_s(16), seed=2)]
TOP: dict[str, Any] = {"levels": (2,), "output_type": "latent"}


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the page and the lock."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "index.html"]
    return {str(path): path.read_bytes() for path in found if not path.name.startswith(".")}


def at_the_top(progress: SamplingProgress) -> bool:
    return progress.level == 2


def one_warning(caplog: pytest.LogCaptureFixture, text: str) -> None:
    assert [text in record.message for record in caplog.records if record.levelno >= logging.WARNING] == [True]


def test_a_song_that_was_continued_keeps_its_run(
    pipe: JukeboxPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    album = tmp_path / "album"
    pipe.sample_songs(SONGS, album, **TOP)
    longer = pipe.continue_run(album / "a", codes_in_s(20), output_type="latent").codes[2]
    before = contents(album / "a")
    (album / "b" / "level_2" / "item_0.wav").unlink()
    pipe.resume_run(album, output_type="latent")
    assert contents(album / "a") == before
    assert torch.equal(JukeboxRun.open(album / "a").codes[2], longer)
    one_warning(caplog, "album/a holds more than the batch")
    assert JukeboxRun.open(album / "b").audio_paths()  # that of others is still restored


def test_a_candidate_picked_from_an_unfinished_batch_stays_picked(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    album = tmp_path / "album"
    options: dict[str, Any] = {"num_waveforms_per_prompt": 2, "output_type": "latent"}
    pipe.sample_songs(SONGS, album, levels=(2, 1), callback=at_the_top, **options)
    pick_candidate(album / "a", 1)
    pipe.resume_run(album / "a", output_type="latent")
    before = contents(album / "a")
    out = pipe.resume_run(album)
    assert contents(album / "a") == before
    assert [step.action for step in JukeboxRun.open(album / "a").steps] == ["sample", "pick"]
    # The batch itself is complete, with what it sampled of every song.
    whole = pipe.sample_songs(SONGS, tmp_path / "whole", levels=(2, 1), num_waveforms_per_prompt=2)
    assert all(torch.equal(a, b) for a, b in zip(out.codes, whole.codes, strict=True))
    assert abs(out.audios - whole.audios).max() == 0
    assert contents(album / "b").keys() == {
        path.replace("/whole/", "/album/") for path in contents(tmp_path / "whole" / "b")
    }


def test_a_song_that_was_resumed_alone_keeps_its_codes(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    album = tmp_path / "album"
    pipe.sample_songs(SONGS, album, levels=(2, 1), callback=at_the_top, output_type="latent")
    codes = [0]

    def some_more(progress: SamplingProgress) -> bool:
        codes[0] += 1
        return codes[0] < 20

    pipe.resume_run(album / "a", callback=some_more, output_type="latent")
    before = JukeboxRun.open(album / "a").num_filled
    pipe.resume_run(album, callback=lambda progress: False, output_type="latent")
    assert JukeboxRun.open(album / "a").num_filled == before != JukeboxRun.open(album / "b").num_filled
    pipe.resume_run(album, output_type="latent", max_batch_size=1)
    assert JukeboxRun.open(album / "a").is_finished and JukeboxRun.open(album / "b").is_finished


def test_a_batch_is_not_sampled_over_a_run_in_the_folder_of_a_song(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    album = tmp_path / "album"
    pipe(audio_length_in_s=codes_in_s(12), generator=5, output_dir=album / "a", **TOP)
    before = contents(album)
    with pytest.raises(FileExistsError, match="album/a holds a finished run"):
        pipe.sample_songs(SONGS, album, **TOP)
    assert contents(album) == before


def test_a_song_in_use_is_written_by_the_next_resume(
    pipe: JukeboxPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    album = tmp_path / "album"
    with locked(album / "a"):
        pipe.sample_songs(SONGS, album, **TOP)
    one_warning(caplog, "album/a is in use by another process")
    assert not (album / "a" / "request.json").exists()
    pipe.resume_run(album, output_type="latent")
    assert JukeboxRun.open(album / "a").audio_paths()


def test_a_prompt_whose_name_is_no_utf8_does_not_make_a_song_another_one(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    album = tmp_path / "album"
    pipe.sample_songs([SongRequest("a", seconds=codes_in_s(12), seed=1, lyrics="la \udcff")], album, **TOP)
    request = json.loads((album / "a" / "request.json").read_text())
    assert request["steps"][0]["request"]["songs"][0]["lyrics"] == "la ?"
    (album / "a" / "level_2" / "item_0.wav").unlink()
    pipe.resume_run(album, output_type="latent")
    assert JukeboxRun.open(album / "a").audio_paths()
