"""Embeddings of many recordings as one file: complete or continued, whatever happens in between."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas
import pytest
from datasets import Dataset
from helpers.forked import run
from helpers.refusals import refusal, refusal_to_write
from helpers.tiny import RATE, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.audio import write_audio
from hf_jukebox.training.data.hf_datasets import SongStream

LENGTHS = {"a.wav": 5, "b.wav": 70, "c.wav": 12, "d.wav": 64}  # codes


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Folder of four recordings."""
    (tmp_path / "music").mkdir()
    for number, (name, length) in enumerate(LENGTHS.items()):
        write_audio(tmp_path / "music" / name, noise_audio(codes_in_s(length), number).numpy(), RATE)
    return tmp_path / "music"


def test_parquet_has_a_row_per_recording_and_stretch(pipe: JukeboxPipeline, music: Path, tmp_path: Path) -> None:
    ten_codes = codes_in_s(10)
    result = pipe.embed_files(music, tmp_path / "x.parquet", layers=(1, 3), pool=("mean", ten_codes, None))
    assert result.names == list(LENGTHS) and result.skipped == {}
    table = pandas.read_parquet(tmp_path / "x.parquet")
    assert list(table.columns) == ["recording", "pool", "start", "end", "layer_1", "layer_3"]
    for name, length in LENGTHS.items():
        expected = pipe.embed(music / name, layers=(1, 3), pool=("mean", ten_codes, None)).pooled
        rows = table[table.recording == name]
        for pool, (label, count) in {"mean": ("mean", 1), ten_codes: (f"{ten_codes:g}s", -(-length // 10))}.items():
            found = rows[rows.pool == label]
            assert len(found) == count
            np.testing.assert_allclose(found.end.iloc[-1], codes_in_s(length))
            values = np.stack([np.stack(found.layer_1), np.stack(found.layer_3)], axis=1)
            assert np.array_equal(values, expected[pool] if pool == "mean" else expected[pool][0])
        every_code = rows[rows.pool == "code"]
        np.testing.assert_allclose(every_code.start, codes_in_s(1) * np.arange(length))
        assert np.array_equal(np.stack(every_code.layer_3), expected[None][0][:, 1])
    assert not (tmp_path / "x.parquet.parts").exists()


def test_npz_has_the_same_numbers(pipe: JukeboxPipeline, music: Path, tmp_path: Path) -> None:
    pipe.embed_files(music, tmp_path / "x.npz", layers=(1, 3), pool=("mean", None))
    expected = pipe.embed([music / name for name in LENGTHS], layers=(1, 3), pool=("mean", None)).pooled
    with np.load(tmp_path / "x.npz", allow_pickle=False) as content:
        assert list(content["recordings"]) == list(LENGTHS) and list(content["layers"]) == [1, 3]
        assert np.array_equal(content["mean"], expected["mean"])
        first = content["code_first"]
        for row, frames in enumerate(expected[None]):
            assert np.array_equal(content["code"][first[row] : first[row + 1]], frames)
        assert content["code_times"].shape == (sum(LENGTHS.values()), 2)
        assert json.loads(str(content["settings"]))["dtype"] == "float32"


def test_paths_pairs_data_sets_and_streams_are_all_recordings(
    pipe: JukeboxPipeline, music: Path, tmp_path: Path
) -> None:
    expected = pipe.embed([music / name for name in LENGTHS]).embeddings
    cells = Dataset.from_dict({"audio": [{"path": None, "bytes": (music / name).read_bytes()} for name in LENGTHS]})
    sources = {
        "paths": [music / name for name in LENGTHS],
        "pairs": ((name, (music / name).read_bytes()) for name in LENGTHS),
        "cells": ((str(row), cell) for row, cell in enumerate(cells["audio"])),
        "stream": SongStream.from_dataset(cells.to_iterable_dataset()),
    }
    for name, source in sources.items():
        pipe.embed_files(source, tmp_path / f"{name}.npz")
        with np.load(tmp_path / f"{name}.npz") as content:
            assert np.array_equal(content["mean"], expected), name


def test_an_unreadable_recording_is_named_and_the_rest_embedded(
    pipe: JukeboxPipeline, music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (music / "b.wav").write_text("not audio")
    write_audio(music / "e.wav", noise_audio(codes_in_s(0.5)).numpy(), RATE)
    seen = []
    result = pipe.embed_files(music, tmp_path / "x.npz", callback=lambda name, done: seen.append((name, done)))
    assert result.names == ["a.wav", "c.wav", "d.wav"]
    assert "is not audio" in result.skipped["b.wav"] and "less than one code" in result.skipped["e.wav"]
    assert "b.wav" in caplog.text
    assert [name for name, done in seen if not done] == ["b.wav", "e.wav"]
    only_bad = [music / "b.wav"]
    message = refusal(lambda: pipe.embed_files(only_bad, tmp_path / "y.npz"))
    assert message.startswith("None of the recordings can be embedded; the first") and "is not audio" in message
    assert not (tmp_path / "y.npz").exists()


def test_what_a_killed_process_finished_is_kept(pipe: JukeboxPipeline, music: Path, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    script = Path(__file__).with_name("run_to_be_killed.py")
    killed = run(script, tmp_path / "model", music, tmp_path / "x.npz")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    parts = sorted((tmp_path / "x.npz.parts").glob("*.npz"))
    assert len(parts) == 2 and not (tmp_path / "x.npz").exists()
    before = {part: part.stat().st_mtime_ns for part in parts}

    other_settings = refusal_to_write(tmp_path, lambda: pipe.embed_files(music, tmp_path / "x.npz", pool="mean"))
    assert "holds embeddings of an interrupted command with other settings or another model" in other_settings
    changed = tiny_pipeline("tiny_labelled_prior", seed=1)
    assert "another model" in refusal(
        lambda: changed.embed_files(music, tmp_path / "x.npz", pool=("mean", None)), ValueError
    )
    kept = []

    def check_kept(name: str, is_embedded: bool) -> None:
        kept.append({part: part.stat().st_mtime_ns for part in parts} == before)

    pipe.embed_files(music, tmp_path / "x.npz", pool=("mean", None), callback=check_kept)
    pipe.embed_files(music, tmp_path / "whole.npz", pool=("mean", None))
    assert all(kept) and not (tmp_path / "x.npz.parts").exists()
    with np.load(tmp_path / "x.npz") as resumed, np.load(tmp_path / "whole.npz") as whole:
        assert resumed.files == whole.files
        assert all(np.array_equal(resumed[name], whole[name]) for name in whole.files)


def test_a_recording_that_changed_is_embedded_again(pipe: JukeboxPipeline, music: Path, tmp_path: Path) -> None:
    def stop(name: str, is_embedded: bool) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.embed_files(music, tmp_path / "x.npz", callback=stop)
    write_audio(music / "a.wav", noise_audio(codes_in_s(9), 9).numpy(), RATE)
    pipe.embed_files(music, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as content:
        assert np.array_equal(content["mean"][0], pipe.embed(music / "a.wav").embeddings[0])


def test_wrong_files_are_refused_before_anything_is_read(pipe: JukeboxPipeline, music: Path, tmp_path: Path) -> None:
    (tmp_path / "old.npz").write_text("")
    for output, message in {
        "x.csv": "must end in .parquet or .npz",
        "old.npz": "exists already; remove it, or give another name",
    }.items():
        assert message in refusal_to_write(
            tmp_path, lambda output=output: pipe.embed_files(music, tmp_path / output), (ValueError, OSError)
        )
    assert "There is no folder" in refusal(lambda: pipe.embed_files(tmp_path / "none", tmp_path / "x.npz"))
    assert "paths or (name, recording) pairs, not a float" in refusal(
        lambda: pipe.embed_files([1.5], tmp_path / "x.npz")
    )
