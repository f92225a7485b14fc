"""Prompts in every form that other libraries return: reading, refusals and warnings."""

import io
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from hf_jukebox.audio.prompts import Prompt, read_prompts

RATE = 22050


def music(seed: int = 0, seconds: float = 0.2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def stereo(seed: int = 0) -> np.ndarray:
    """Return `[2, T]` with the correlation of the channels of a mix."""
    middle, side = music(seed), music(seed + 100)
    return np.stack([middle + 0.5 * side, middle - 0.5 * side])


def read(audio: Any, sampling_rate: int | None = RATE, limit: int = 10**6) -> list[Prompt]:
    return read_prompts(audio, sampling_rate=sampling_rate, model_rate=RATE, limit=limit)


def read_one(audio: Any, sampling_rate: int | None = None) -> Prompt:
    """Read one recording without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (prompt,) = read(audio, sampling_rate)
    return prompt


class Decoder:
    """A decoder like that of torchcodec, as datasets returns it."""

    def __init__(self, data: torch.Tensor, sample_rate: int) -> None:
        self.samples = SimpleNamespace(data=data, sample_rate=sample_rate)

    def get_all_samples(self) -> SimpleNamespace:
        return self.samples


class Pipe(io.RawIOBase):
    """A file that can only be read once from front to back, like a server's response."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        part = self.content.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture
def drums(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "drums.wav", stereo().T, RATE, subtype="FLOAT")
    return tmp_path / "drums.wav"


# One recording -------------------------------------------------------------------------------------------------------


def test_files_by_path_content_and_open_file_are_the_same_prompt(drums: Path) -> None:
    expected = read_one(drums)
    assert expected.samples.shape == music().shape and expected.name == "drums.wav"
    assert np.allclose(expected.samples, music(), atol=1e-6)
    content = drums.read_bytes()
    with drums.open("rb") as opened:
        forms = [str(drums), content, bytearray(content), io.BytesIO(content), opened, Pipe(content)]
        forms += [{"bytes": content, "path": None}, {"bytes": content, "path": "drums.wav"}]
        forms += [{"bytes": None, "path": str(drums)}, {"path": drums}]
        for form in forms:
            assert np.array_equal(read_one(form).samples, expected.samples), form
        assert read_one(opened).name == "drums.wav"
    assert read_one({"bytes": content, "path": "other/bass.wav"}).name == "bass.wav"
    assert read_one(content).name is None


def test_a_home_folder_may_be_written_as_a_tilde(drums: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(drums.parent))
    assert read_one("~/drums.wav").name == "drums.wav"


@pytest.mark.parametrize(
    "form",
    [
        {"array": stereo(), "sampling_rate": RATE, "path": None},
        {"array": stereo().T, "sampling_rate": RATE},
        {"raw": stereo().tolist(), "sampling_rate": float(RATE)},
        (torch.from_numpy(stereo()), RATE),
        (stereo().T, RATE),
        (RATE, stereo().T),
        [RATE, stereo()],
        (np.int64(RATE), stereo()),
        [(stereo(), RATE)],
        Decoder(torch.from_numpy(stereo()), RATE),
        [Decoder(torch.from_numpy(stereo()), RATE)],
    ],
    ids=lambda form: type(form).__name__,
)
def test_samples_with_a_rate_are_one_recording_with_averaged_channels(form: Any) -> None:
    assert np.allclose(read_one(form).samples, music(), atol=1e-6)


def test_integers_of_other_libraries_are_scaled() -> None:
    """Gradio and scipy return int16 and int32."""
    for kind in (np.int16, np.int32):
        samples = (stereo().T * np.iinfo(kind).max).astype(kind)
        assert np.allclose(read_one((RATE, samples)).samples, music(), atol=1e-4)


def test_other_rates_are_resampled_however_they_are_given() -> None:
    expected = read_one(music(), 2 * RATE).samples
    assert len(expected) == len(music()) // 2
    for form in ((music(), 2 * RATE), {"array": music(), "sampling_rate": 2 * RATE}):
        assert np.array_equal(read_one(form).samples, expected)
    with pytest.raises(ValueError, match="leave sampling_rate out"):
        read((music(), 2 * RATE), sampling_rate=RATE)


def test_samples_without_a_rate_are_treated_as_the_models_with_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    read([music(), music(1), music(2)], sampling_rate=None)
    (warning,) = recwarn.list
    assert "treated as 22050 Hz" in str(warning.message) and "sampling_rate" in str(warning.message)


# Arrays on their own -------------------------------------------------------------------------------------------------


def test_a_batch_is_one_prompt_per_row() -> None:
    rows = np.stack([music(seed) for seed in range(3)])
    for form in (rows, torch.from_numpy(rows), list(rows), rows[:, None], np.stack([rows, rows], axis=1)):
        prompts = read(form)
        assert all(np.allclose(prompt.samples, row, atol=1e-6) for prompt, row in zip(prompts, rows, strict=True))


def test_two_rows_that_are_alike_are_refused_as_stereo() -> None:
    for form in (stereo(), torch.from_numpy(stereo()), np.stack([music(), -music()])):
        with pytest.raises(ValueError, match=r"alike.*\[1, 2, T\].*a list of two"):
            read(form)
    assert np.allclose(read_one(stereo()[None], RATE).samples, music(), atol=1e-6)
    assert np.allclose(read_one([stereo()], RATE).samples, music(), atol=1e-6)
    first, second = read([music(), music()])
    assert np.array_equal(first.samples, second.samples)


def test_two_rows_of_wide_stereo_are_refused_too() -> None:
    """Choruses and reverberation decorrelate the samples, but not the spectra."""
    melody = np.repeat(np.random.default_rng(0).integers(200, 4000, 40), 2205)
    left, right = (np.cumsum(melody * factor) * 2 * np.pi / RATE for factor in (1.0, 1.002))
    wide = np.stack([np.sin(left), np.sin(right + 1.0)]).astype(np.float32) * 0.5
    assert abs(np.corrcoef(wide)[0, 1]) < 0.1
    with pytest.raises(ValueError, match="alike"):
        read(wide)


def test_two_different_rows_are_two_songs_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="treated as two songs"):
        assert len(read(np.stack([music(0), music(1)]))) == 2


def test_channels_in_the_last_dimension_are_recognised() -> None:
    """soundfile.read returns them in this order."""
    assert np.allclose(read_one(stereo().T, RATE).samples, music(), atol=1e-6)
    assert np.allclose(read_one(music()[:, None], RATE).samples, music())
    assert np.allclose(read_one([stereo().T], RATE).samples, music(), atol=1e-6)


# Names ---------------------------------------------------------------------------------------------------------------


def test_every_prompt_of_several_has_a_name(drums: Path) -> None:
    assert [prompt.name for prompt in read([drums, music(), {"array": music(), "sampling_rate": RATE}])] == [
        "drums.wav",
        "prompt 1",
        "prompt 2",
    ]


# What is said of the level -------------------------------------------------------------------------------------------


def test_channels_that_cancel_out_are_a_warning() -> None:
    for form in ((np.stack([music(), -music()]), RATE), np.stack([music(), -music()])[None]):
        with pytest.warns(UserWarning, match="channels cancel out"):
            read(form)


def test_silence_and_unsuitable_levels_are_a_warning_for_files_and_arrays(tmp_path: Path) -> None:
    for factor, message in ((0.0, "is silent"), (1e-3, "is very quiet"), (8.0, "exceeds full scale")):
        soundfile.write(tmp_path / "bass.wav", music() * factor, RATE, subtype="FLOAT")
        for form, name in ((tmp_path / "bass.wav", "The prompt bass.wav "), (music() * factor, "The prompt ")):
            with pytest.warns(UserWarning, match=f"^{name}{message}"):
                read(form)


def test_a_file_whose_channels_cancel_out_is_a_warning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "inverted.wav", np.stack([music(), -music()]).T, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match=r"inverted\.wav is silent.*channels cancel out"):
        read(tmp_path / "inverted.wav")


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("https://example.com/drums.wav", "is an address"),
        (["https://example.com/drums.wav"], "download it first"),
        (Path("https://example.com/drums.wav"), "download it first"),
        ({"path": "s3://bucket/drums.wav", "bytes": None}, "download it first"),
        ([0.1, 0.2, 0.3], "not samples"),
        ([0.1, 0.2], "not samples"),
        ([1, 2], "not samples"),
        ({"text": "drums"}, "it has text"),
        ({"bytes": None, "path": None}, "array and sampling_rate"),
        ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": RATE}, "not an array"),
        ((music(), 0), "positive whole number of Hz, not 0"),
        ((music(), 22050.5), "positive whole number of Hz, not 22050.5"),
        ((music(), float("nan")), "positive whole number of Hz, not nan"),
        ((music(), float("inf")), "positive whole number of Hz, not inf"),
        (torch.zeros(0), "no samples"),
        (torch.zeros(2, 0), "no samples"),
        (np.float32(0.5), "not float32"),
        (np.zeros((100, 100, 100, 2), np.float32), r"\[T\] or \[channels, T\]"),
        ([np.zeros((3, 2, 1000), np.float32)], "several as a list"),
        (np.full(2000, np.nan, np.float32), "NaN or infinite"),
        (b"", "empty"),
        (b"<html>", "is a web page"),
        (io.StringIO("drums"), "binary mode"),
        ([None, music()], "not NoneType"),
        (3, "not int"),
        ({1, 2}, "not set"),
    ],
)
def test_values_that_are_not_prompts_are_refused_in_one_sentence(form: Any, message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message) as error:
        read(form)
    assert "\n" not in str(error.value)


def test_an_invalid_rate_is_refused() -> None:
    for rate in (0, -1, float("inf"), float("nan"), "22050", 44100.5, True):
        with pytest.raises(ValueError, match="positive whole number of Hz"):
            read(music(), rate)  # type: ignore[arg-type]
