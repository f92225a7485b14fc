"""Data in wav and flac files, which leaves their audio as it is and is read back whatever else they hold."""

from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from helpers.refusals import refusal
from mutagen.flac import FLAC

from hf_jukebox.audio import blocks
from hf_jukebox.audio.blocks import add_data, read_data

RATE = 22050
TONE = np.sin(np.arange(4001) / 9).astype(np.float32) / 2


def file(folder: Path, ending: str) -> Path:
    soundfile.write(folder / f"a.{ending}", TONE, RATE, subtype="PCM_16")
    return folder / f"a.{ending}"


@pytest.mark.parametrize("ending", ["wav", "flac"])
@pytest.mark.parametrize("data", [b"", b"odd", bytes(range(256)) * 90])
def test_data_is_read_back_and_the_audio_stays(ending: str, data: bytes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_IN_FLAC_BLOCK", 10_000)  # several blocks
    path = file(tmp_path, ending)
    before = soundfile.read(path, dtype="int16")[0]
    assert read_data(path) is None
    add_data(path, data)
    assert read_data(path) == data
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], before)
    info = mutagen.File(path).info
    assert (info.sample_rate, info.channels, round(info.length * RATE)) == (RATE, 1, len(TONE))


def test_other_blocks_of_a_flac_file_stay_and_may_come_from_anybody(tmp_path: Path) -> None:
    path = file(tmp_path, "flac")
    add_data(path, b"codes")
    tags = FLAC(path)
    tags["title"] = "a title"
    tags.save()  # another program writes the blocks anew
    assert read_data(path) == b"codes" and FLAC(path)["title"] == ["a title"]


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_file_that_is_cut_short_or_claims_too_much_is_read_or_refused(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, ending)
    add_data(path, b"x" * 1000)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        read_data(path)
    path.write_bytes(content)
    monkeypatch.setattr(blocks, "_MOST_BYTES", 500)
    assert "which no song has" in refusal(lambda: read_data(path))


def test_only_wav_and_flac_hold_data(tmp_path: Path) -> None:
    path = file(tmp_path, "wav")
    other = tmp_path / "a.ogg"
    soundfile.write(other, TONE, RATE)
    assert "neither a wav nor a flac file" in refusal(lambda: add_data(other, b"x"))
    assert read_data(other) is None
    assert read_data(path) is None
