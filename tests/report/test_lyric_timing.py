"""The timing of lyrics that is kept of an alignment."""

from pathlib import Path

import pytest
import torch

from hf_jukebox.report import LyricTiming
from hf_jukebox.sampling.lyric_alignment import LyricAlignment

TEXT = "la la\nla"


def alignment(total: int, text: str = TEXT) -> LyricAlignment:
    weights = torch.rand(total, len(text), generator=torch.Generator().manual_seed(0)) / len(text)
    return LyricAlignment(text, weights, 100.0)


def test_the_timing_keeps_the_character_of_every_code() -> None:
    whole = alignment(50)
    whole.weights[7] = 0
    sung = LyricTiming.of(whole)
    assert sung.characters.tolist() == whole.peaks().tolist()
    assert sung.characters[7] == -1
    assert (sung.text, sung.codes_per_second) == (TEXT, 100.0)


@pytest.mark.parametrize(("total", "text", "shape"), [(50, TEXT, (8, 50)), (2000, TEXT * 100, (320, 720))])
def test_the_overview_shows_the_map(total: int, text: str, shape: tuple[int, int]) -> None:
    whole = LyricAlignment(text, torch.zeros(total, len(text)), 100.0)
    whole.weights[torch.arange(total), torch.arange(total) * len(text) // total] = 0.5
    sung = LyricTiming.of(whole)
    assert sung.overview.shape == shape
    assert sung.overview[0, 0] == sung.overview[-1, -1] == 255
    assert sung.overview[-1, 0] == sung.overview[0, -1] == 0


def test_a_timing_is_read_as_it_was_written(tmp_path: Path) -> None:
    sung = LyricTiming.of(alignment(50))
    sung.save(tmp_path / "alignment" / "item_0.safetensors")
    read = LyricTiming.load(tmp_path / "alignment" / "item_0.safetensors")
    assert torch.equal(read.characters, sung.characters)
    assert torch.equal(read.overview, sung.overview)
    assert (read.text, read.codes_per_second) == (TEXT, 100.0)
    assert len(list((tmp_path / "alignment").iterdir())) == 1


def test_a_timing_without_lyrics_can_be_saved(tmp_path: Path) -> None:
    sung = LyricTiming.of(alignment(50, ""))
    sung.save(tmp_path / "item_0.safetensors")
    read = LyricTiming.load(tmp_path / "item_0.safetensors")
    assert read.text == "" and read.overview.numel() == 0


def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LyricTiming.load(tmp_path / "missing.safetensors")
    (tmp_path / "item_0.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="is damaged"):
        LyricTiming.load(tmp_path / "item_0.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        LyricTiming.of(alignment(50)).save(tmp_path / "folder.safetensors")
