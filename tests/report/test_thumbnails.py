"""Waveforms and spectrograms of recordings of any length."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_jukebox.audio import write_audio
from hf_jukebox.report.thumbnails import AudioPicture, draw_surprise, render_audio

RATE = 22050


def picture(folder: Path, audio: np.ndarray, bars: int = 40) -> AudioPicture:
    write_audio(folder / "audio.wav", audio, RATE)
    return render_audio(folder / "audio.wav", bars)


def pixels(shown: AudioPicture) -> np.ndarray:
    encoded = base64.b64decode(shown.spectrogram.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("L")).astype(int)  # [rows, columns]


def heights(shown: AudioPicture) -> list[int]:
    return [int(height) for height in re.findall(r"v(\d+)", shown.waveform)]


def tone(hertz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def test_the_height_of_the_waveform_is_the_loudness(tmp_path: Path) -> None:
    shown = picture(tmp_path, np.concatenate([0.2 * tone(220, 2), 0.8 * tone(220, 2), 0 * tone(220, 1)]))
    assert (shown.duration, shown.bars, len(heights(shown))) == (5.0, 40, 40)
    assert heights(shown)[2:14] == [24] * 12
    assert heights(shown)[18:30] == [96] * 12
    assert heights(shown)[34:] == [2] * 6


def test_the_spectrogram_shows_time_and_frequency(tmp_path: Path) -> None:
    brightness = pixels(picture(tmp_path, np.concatenate([0.5 * tone(220, 2), 0.5 * tone(3520, 2)])))
    low, high = brightness[:, 5:55].mean(axis=1).argmax(), brightness[:, 65:115].mean(axis=1).argmax()
    assert high < low  # higher up in the picture
    for hertz, row in ((220, low), (3520, high)):
        lowest, here, highest = np.log([36, hertz, RATE / 2])  # a constant-Q scale, as that of the notes
        expected = (highest - here) / (highest - lowest) * len(brightness)
        assert abs(row + 0.5 - expected) <= 1.5


def test_neighbouring_notes_of_a_bass_can_be_told_apart(tmp_path: Path) -> None:
    brightness = pixels(picture(tmp_path, np.concatenate([0.5 * tone(82.41, 4), 0.5 * tone(92.5, 4)])))  # e and f sharp
    low, high = brightness[:, 5:55].mean(axis=1).argmax(), brightness[:, 65:115].mean(axis=1).argmax()
    assert 1 <= low - high <= 3


def test_the_loudness_is_that_of_the_standard(tmp_path: Path) -> None:
    write_audio(tmp_path / "tone.wav", 10 ** (-20 / 20) * np.tile(tone(997, 1), 6), RATE)
    loudness = render_audio(tmp_path / "tone.wav", 40).loudness
    assert loudness == pytest.approx(-23.0, abs=0.2)  # a sine at -20 dBFS in one channel (BS.1770-5)
    softly = np.concatenate([0.1 * tone(997, 4), 0.001 * tone(997, 4)])  # the quiet half does not count
    assert picture(tmp_path, softly).loudness == pytest.approx(-23.0, abs=0.2)
    assert picture(tmp_path, np.zeros(RATE, dtype=np.float32)).loudness is None


@pytest.mark.parametrize("samples", [1, 50, 700])
def test_the_shortest_sound_has_a_picture(tmp_path: Path, samples: int) -> None:
    shown = picture(tmp_path, np.full(samples, 0.5, dtype=np.float32))
    assert pixels(shown).shape[1] == 120
    assert max(heights(shown)) == 96


def test_silence_is_a_thin_line(tmp_path: Path) -> None:
    assert set(heights(picture(tmp_path, np.zeros(RATE, dtype=np.float32)))) == {2}


def test_the_curve_of_surprise_is_as_high_as_its_dearest_step() -> None:
    drawn = draw_surprise(np.array([1.0, 1, 4, 4, 2, 2]), bars=3)
    assert drawn.curve == "M0 75V75H1V0H2V50H3"
    assert (drawn.bars, drawn.mean, drawn.highest) == (3, 14 / 6, 4.0)
    short = draw_surprise(np.array([0.0, 0.0]), bars=4)  # fewer codes than bars, and nothing surprising
    assert short.curve == "M0 100V100H2V100H4"
