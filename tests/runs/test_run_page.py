"""The listening page of a run shows the content of its folder."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress, SongRequest, pick_candidate
from hf_jukebox.files.tensors import read_tensors

LYRICS = "we hung the lanterns by the shore and counted every one until the light was gone"
LENGTH = codes_in_s(72)  # a little more than a window of the top prior


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_lyrics_prior", alignment_layer=9, alignment_head=1)


def sample(pipe: JukeboxPipeline, folder: Path, **options: Any) -> JukeboxRun:
    options = {"levels": 2, "audio_length_in_s": LENGTH, "lyrics": LYRICS, "artist": "night bus"} | options
    pipe(output_dir=folder, output_type="latent", generator=torch.Generator().manual_seed(0), **options)
    return JukeboxRun.open(folder)


def page(folder: Path) -> str:
    return (folder / "index.html").read_text("utf-8")


def players(html: str) -> list[str]:
    return re.findall(r'<audio [^>]*src="([^"]*)"', html)


def texts(html: str, tag: str) -> list[str]:
    found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", html)
    return [re.sub("<[^>]*>", "", each).strip() for each in found]


def test_a_run_has_its_labels_settings_and_lyrics(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    sample(pipe, tmp_path / "four-lanterns", num_waveforms_per_prompt=2, temperature=0.9)
    html = page(tmp_path / "four-lanterns")
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
    assert players(html) == ["level_2/item_0.wav", "level_2/item_1.wav"]


def test_a_page_shows_how_surprising_each_code_is(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    run = sample(pipe, tmp_path)
    (written,) = (tmp_path / "surprise").iterdir()
    bits = read_tensors(written)[0]["bits"].float()
    (score,) = pipe.score(codes=[None, None, run.level_codes(2)], lyrics=LYRICS, artist="night bus")
    torch.testing.assert_close(bits, torch.from_numpy(score.levels[2].bits), rtol=1e-3, atol=1e-3)
    html = page(tmp_path)
    assert html.count('class="surprise"') == 1
    assert f"surprise: {bits.mean():.1f} bits per code" in html


def test_an_alignment_is_computed_once_and_kept_by_a_pick(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    run = sample(pipe, tmp_path, num_waveforms_per_prompt=2)
    first, kept = page(tmp_path), snapshot(tmp_path / "alignment")
    assert len(kept) == 2
    pipe.resume_run(tmp_path)
    assert page(tmp_path) == first
    pick_candidate(run.folder, 1)
    picked = page(tmp_path)
    assert texts(picked, "h2") == ["The piece"] and players(picked) == ["level_2/item_0.wav"]
    maps = r'(data:image/webp;base64,[^"]*)" alt="Alignment map'
    assert re.findall(maps, picked) == re.findall(maps, first)[1:]
    assert page(tmp_path / "earlier" / "0") == first  # the step that was moved aside keeps its page
    assert snapshot(tmp_path / "alignment") == kept


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_changed_lyrics_are_aligned_again(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    sample(pipe, tmp_path)
    pipe.continue_run(tmp_path, audio_length_in_s=LENGTH + codes_in_s(8), lyrics="other words " * 8)
    html = page(tmp_path)
    assert "other words other words" in html
    assert 'alt="Alignment map' in html
    assert "sample, continue" in html


def test_a_level_is_on_the_page_while_the_next_is_sampled(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    folder, seen = tmp_path / "run", []

    def look(progress: SamplingProgress) -> bool:
        if progress.level == 1:
            seen.append(page(folder))
        return progress.level == 2

    sample(pipe, folder, levels=(2, 1), callback=look)
    (first,) = seen
    assert players(first) == ["level_2/item_0.wav"] and "Alignment map" in first
    assert "Still to come: level 1." in first
    assert page(folder) == first  # the callback has stopped the run there
    pipe.resume_run(folder)
    html = page(folder)
    assert "Still to come" not in html
    assert players(html) == ["level_2/item_0.wav", "level_1/item_0.wav"]


def test_without_audio_there_is_no_page(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    sample(pipe, tmp_path, callback=lambda progress: progress.filled < 10)
    assert not (tmp_path / "index.html").exists()


def test_a_model_that_cannot_align_says_so(tmp_path: Path) -> None:
    sample(tiny_pipeline("tiny_lyrics_prior"), tmp_path)
    html = page(tmp_path)
    assert "names no alignment_layer and alignment_head" in html
    assert LYRICS in html and "Alignment map" not in html


def test_priors_that_stay_on_disk_align(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "on-disk")
    on_disk = JukeboxPipeline.from_pretrained(tmp_path / "on-disk", low_memory=True)
    on_disk.set_progress_bar_config(disable=True)
    sample(on_disk, tmp_path / "run")
    sample(pipe, tmp_path / "other" / "run")
    alone, together = page(tmp_path / "run"), page(tmp_path / "other" / "run")
    assert "Alignment map" in alone
    # A model that was never saved has no name, and no command makes its music again.
    named = r'<div><dt>Model</dt><dd>on-disk</dd></div>|<details class="command">.*?</details>'
    assert re.sub(named, "", alone, flags=re.DOTALL).split() == together.split()


def test_every_song_of_a_batch_has_its_page(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [
        SongRequest("dawn", seconds=LENGTH, lyrics=LYRICS),
        SongRequest("dusk", seconds=codes_in_s(66), genre="rock", seed=1),
    ]
    pipe.sample_songs(songs, tmp_path / "batch", levels=2, num_waveforms_per_prompt=2, output_type="latent")
    html = page(tmp_path / "batch")
    assert texts(html, "h2") == ["dawn, 0", "dawn, 1", "dusk, 0", "dusk, 1"]
    assert players(html) == [f"{name}/level_2/item_{item}.wav" for name in ("dawn", "dusk") for item in (0, 1)]
    dawn, dusk = (page(tmp_path / "batch" / name) for name in ("dawn", "dusk"))
    assert players(dawn) == players(dusk) == ["level_2/item_0.wav", "level_2/item_1.wav"]
    assert dawn.count("Alignment map") == html.count("Alignment map") == 4 and "Genre" in dusk
    pick_candidate(tmp_path / "batch" / "dusk", 1)
    assert players(page(tmp_path / "batch" / "dusk")) == ["level_2/item_0.wav"]


def test_a_page_that_fails_loses_nothing(
    pipe: JukeboxPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "run" / "index.html"
    in_the_way.mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        run = sample(pipe, tmp_path / "run", num_waveforms_per_prompt=2)
    (warning,) = [record.getMessage() for record in caplog.records if "listening page" in record.getMessage()]
    assert str(in_the_way) in warning and "cannot be written" in warning
    assert run.is_finished and len(run.audio_paths()[2]) == 2
    in_the_way.rmdir()
    pipe.resume_run(tmp_path / "run")
    assert players(page(tmp_path / "run")) == ["level_2/item_0.wav", "level_2/item_1.wav"]


def test_lyrics_are_shown_when_aligning_fails(
    pipe: JukeboxPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "alignment").touch()  # a file where the folder of the alignments should be
    with caplog.at_level(logging.WARNING):
        sample(pipe, tmp_path / "run")
    assert "listening page" in caplog.text
    html = page(tmp_path / "run")
    assert LYRICS in html and "Alignment map" not in html
