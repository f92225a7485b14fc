"""A catalogue on disk: complete or not there, and refused where it is damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.catalogues import TOP, catalogue_of, top_catalogue
from helpers.refusals import refusal, refusal_to_write

from hf_jukebox.catalogue.folder import INDEX, open_catalogue, open_songs
from hf_jukebox.catalogue.index import HELD, STRIDE, bucket_ranges, held_runs


def test_the_codes_of_every_song_and_level_are_read_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    songs = [[random.integers(0, 64, n * ratio) for ratio in (16, 4, 1)] for n in (3, 90, 1, 40)]
    catalogue_of(tmp_path / "c", songs, levels=(0, 2))
    catalogue = open_songs(tmp_path / "c")
    for number, song in enumerate(songs):
        for level in (0, 2):
            assert catalogue.codes(number, level).tolist() == song[level].tolist()
            start, end = catalogue.span(number, level)
            assert catalogue.songs_at(level, np.array([start, end - 1])).tolist() == [number, number]
    assert [song.top_codes for song in catalogue.songs] == [3, 90, 1, 40]
    assert catalogue.format.codes(TOP, 2.0) == 344 and catalogue.format.seconds(0, 16) == 128 / 22050
    assert catalogue.digest == open_catalogue(tmp_path / "c").digest


def test_every_anchor_is_found_whatever_the_number_of_parts_it_was_sorted_in(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_jukebox.catalogue.index._ANCHORS_SORTED", 4)
    monkeypatch.setattr("hf_jukebox.catalogue.index._ANCHORS_READ", 3)
    assert len(list(bucket_ranges(60, 4))) == 16
    song = np.random.default_rng(0).integers(0, 64, 60 * STRIDE).astype(np.uint16)
    song[100 : 100 + 2 * HELD] = 9
    index = top_catalogue(tmp_path / "c", [song]).index(TOP)
    windows = np.lib.stride_tricks.sliding_window_view(song, 8)
    rows, following = index.find(windows)
    assert (rows + 8 == following).all()
    held = {112, 128}  # between the ends of the run
    run_ends = {99, 100 + 2 * HELD - 7}
    assert set(rows.tolist()) == ({*range(0, len(windows), STRIDE)} - held) | run_ends
    assert index.find(windows[:0])[0].tolist() == []


def test_runs_of_held_codes_are_listed_with_what_follows():
    song = np.concatenate([np.full(HELD, 3), [1], np.full(HELD - 1, 2), np.full(HELD + 5, 4)])
    assert held_runs(song).tolist() == [[0, HELD, 3, 1], [2 * HELD, HELD + 5, 4, 0xFFFF]]
    assert held_runs(song[:0]).shape == (0, 4)


def test_nothing_appears_before_it_is_complete_and_nothing_is_overwritten(tmp_path: Path) -> None:
    nothing = refusal_to_write(tmp_path, lambda: catalogue_of(tmp_path / "c", []))
    assert "encode at least one song first" in nothing
    assert "no codes" in refusal_to_write(tmp_path, lambda: top_catalogue(tmp_path / "c", [np.zeros(0, int)]))
    top_catalogue(tmp_path / "c", [np.arange(50)])
    again = refusal_to_write(tmp_path, lambda: top_catalogue(tmp_path / "c", [np.arange(50)]), FileExistsError)
    assert "give the catalogue a new folder" in again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=2), "update hf_jukebox"),
        (lambda content: content.update(kind="other"), "is damaged; build the catalogue again"),
        (lambda content: content.update(songs=[["a", -1]]), "is damaged; build the catalogue again"),
        (lambda content: content.update(levels=[7]), "is damaged; build the catalogue again"),
        (lambda content: content.pop("fingerprint"), "is damaged; build the catalogue again"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, change, message):
    folder = top_catalogue(tmp_path / "c", [np.arange(50)]).folder
    content = json.loads((folder / INDEX).read_text())
    change(content)
    (folder / INDEX).write_text(json.dumps(content))
    assert message in refusal(lambda: open_catalogue(folder))


def test_damaged_or_missing_arrays_are_refused(tmp_path: Path) -> None:
    folder = top_catalogue(tmp_path / "c", [np.arange(50)]).folder
    assert "holds no catalogue" in refusal(lambda: open_catalogue(tmp_path), FileNotFoundError)
    path = folder / f"level_{TOP}.table.npy"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-4], "damaged or cut short"),
        (b"not an array", "damaged or cut short"),
        (whole[:-4] + b"\xff\xff\xff\x00", "is damaged; build the catalogue again"),
    ):
        path.write_bytes(content)
        assert message in refusal(lambda: open_songs(folder).index(TOP))
    path.unlink()
    assert "cannot be read" in refusal(lambda: open_songs(folder).index(TOP))
    path.write_bytes(whole)
    np.save(folder / f"level_{TOP}.positions.npy", np.full(3, 2**31, np.uint32))
    index = open_songs(folder).index(TOP)
    assert "damaged" in refusal(lambda: index.find(np.arange(8, dtype=np.uint16)[None]))
