"""The page of a run: what its folder holds is what is shown."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.report.run import align_run, write_run_page
from hf_jukebox.runs.folder import JukeboxRun
from hf_jukebox.runs.songs import SongRequest

LYRICS = "we hung the lanterns by the shore and counted every one until the light was gone"
LENGTH = codes_in_s(72)  # a little more than a window of the top prior


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_lyrics_prior", alignment_layer=9, alignment_head=1)


def draw(pipe: JukeboxPipeline, folder: Path, **options: Any) -> JukeboxRun:
    options = {"levels": 2, "audio_length_in_s": LENGTH, "lyrics": LYRICS, "artist": "night bus"} | options
    pipe(output_dir=folder, generator=torch.Generator().manual_seed(0), **options)
    return JukeboxRun.open(folder)


def write(pipe: JukeboxPipeline, run: JukeboxRun) -> str:
    assert pipe.prior_2 is not None and pipe.tokenizer is not None
    align_run(run, pipe.prior_2, pipe.tokenizer)
    path = write_run_page(run, pipe.prior_2)
    assert path == run.folder / "index.html"
    return path.read_text("utf-8")


def texts(html: str, tag: str) -> list[str]:
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html)
    return [re.sub("<[^>]*>", "", each).strip() for each in found]


def test_a_run_has_its_labels_settings_and_lyrics(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    html = write(pipe, draw(pipe, tmp_path / "four-lanterns", num_waveforms_per_prompt=2, temperature=0.9))
    assert texts(html, "h1") == ["four lanterns"]
    assert texts(html, "h2") == ["Candidate 0", "Candidate 1"]
    settings = dict(zip(texts(html, "dt"), texts(html, "dd"), strict=True))
    assert settings["Temperature"] == "0.9"
    assert settings["Length"] == f"{LENGTH:.1f} s"
    assert settings["Made by"] == "sample"
    assert "Prompt" not in settings and "Top k" not in settings
    assert texts(html, "li")[0] == "Artist night bus"
    assert html.count('class="lyrics">' + LYRICS) == 2
    assert html.count('alt="Alignment map') == 2
    assert re.findall(r'<audio [^>]*src="([^"]*)"', html) == ["level_2/item_0.wav", "level_2/item_1.wav"]


def test_an_alignment_is_made_once_and_follows_a_choice(
    pipe: JukeboxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = draw(pipe, tmp_path / "run", num_waveforms_per_prompt=2)
    first = write(pipe, run)
    monkeypatch.setattr("hf_jukebox.report.run.align_lyrics", lambda *_: pytest.fail("it is kept already"))
    assert write(pipe, run) == first
    JukeboxRun.open(run.folder).pick(1)
    picked = write(pipe, JukeboxRun.open(run.folder))
    assert texts(picked, "h2") == ["The piece"]
    maps = r'(data:image/webp;base64,[^"]*)" alt="Alignment map'
    assert re.findall(maps, picked) == re.findall(maps, first)[1:]


def test_other_lyrics_are_aligned_anew(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    run = draw(pipe, tmp_path / "run")
    write(pipe, run)
    pipe.continue_run(run.folder, audio_length_in_s=LENGTH + codes_in_s(8), lyrics="other words " * 8)
    html = write(pipe, JukeboxRun.open(run.folder))
    assert "other words other words" in html
    assert 'alt="Alignment map' in html
    assert "sample, continue" in html


def test_a_page_says_what_is_still_to_come(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = draw(pipe, folder, levels=(2, 1), callback=lambda progress: progress.level == 2)
    html = write(pipe, run)
    assert "Still to come: level 1." in html
    assert len(re.findall("<audio ", html)) == 1
    pipe.resume(folder)
    html = write(pipe, JukeboxRun.open(folder))
    assert "Still to come" not in html
    assert len(re.findall("<audio ", html)) == 2


def test_nothing_to_hear_is_no_page(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    run = draw(pipe, tmp_path / "run", callback=lambda progress: progress.done < 10)
    assert write_run_page(run) is None
    assert not (run.folder / "index.html").exists()


def test_a_model_that_cannot_align_says_so(tmp_path: Path) -> None:
    pipe = tiny_pipeline("tiny_lyrics_prior")
    html = write(pipe, draw(pipe, tmp_path / "run"))
    assert "names no alignment_layer and alignment_head" in html
    assert LYRICS in html and "Alignment map" not in html


def test_every_song_of_a_batch_has_its_page(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [
        SongRequest("dawn", seconds=LENGTH, lyrics=LYRICS),
        SongRequest("dusk", seconds=codes_in_s(66), genre="rock", seed=1),
    ]
    pipe.draw_songs(songs, tmp_path / "batch", levels=2)
    html = write(pipe, JukeboxRun.open(tmp_path / "batch"))
    assert texts(html, "h2") == ["dawn", "dusk"]
    assert 'src="dusk/level_2/item_0.wav"' in html
    dawn = (tmp_path / "batch" / "dawn" / "index.html").read_text("utf-8")
    assert 'src="level_2/item_0.wav"' in dawn and "Alignment map" in dawn
    assert "Genre" in (tmp_path / "batch" / "dusk" / "index.html").read_text("utf-8")
