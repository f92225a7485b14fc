"""The recipe of the demo model's data: pieces are repeatable, of the right length, in the tempo that they claim."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "demo"))

from synth import KITS, PEAK, STYLES
from synthesize import HELD_OUT_SEED, synthesize_song, write_songs

from hf_jukebox.study.tempo import estimate_tempo

RATE = 22050


def tempo_is(estimate: float, bpm: float) -> bool:
    return any(abs(estimate / (bpm * octave) - 1) < 0.04 for octave in (0.5, 1, 2))


def test_a_seed_is_a_piece():
    song, again, other = (
        synthesize_song(3, seconds=5.0),
        synthesize_song(3, seconds=5.0),
        synthesize_song(4, seconds=5.0),
    )
    np.testing.assert_array_equal(song.audio, again.audio)
    assert (song.bpm, song.style, song.kit, song.key) == (again.bpm, again.style, again.kit, again.key)
    assert np.abs(song.audio - other.audio).max() > 0.1


def test_a_longer_piece_begins_with_the_shorter_one():
    np.testing.assert_array_equal(
        synthesize_song(5, seconds=9.0).audio[: 4 * RATE], synthesize_song(5, seconds=4.0).audio
    )


@pytest.mark.parametrize("sampling_rate", [16000, 22050, 44100])
@pytest.mark.parametrize("seconds", [0.01, 2.5])
def test_length_and_level(sampling_rate, seconds):
    song = synthesize_song(11, sampling_rate, seconds)
    assert song.audio.dtype == np.float32
    assert song.audio.shape == (round(seconds * sampling_rate),)
    assert 0 < np.abs(song.audio).max() <= PEAK


def test_sound_does_not_depend_on_the_sampling_rate():
    low, high = synthesize_song(2, 22050, 4.0), synthesize_song(2, 44100, 4.0)
    assert (low.bpm, low.kit) == (high.bpm, high.kit)
    assert np.std(low.audio) == pytest.approx(np.std(high.audio), rel=0.05)


def test_every_style_and_kit_is_heard_and_its_tempo_is_found():
    songs = [synthesize_song(HELD_OUT_SEED + index, seconds=6.0) for index in range(60)]
    assert {song.style for song in songs} == set(STYLES)
    assert {song.kit for song in songs} == set(KITS)
    found = [tempo_is(estimate_tempo(song.audio, RATE), song.bpm) for song in songs]
    assert np.mean(found) >= 0.95
    for song in songs:
        assert 0.05 < np.std(song.audio) < 0.4
        seconds = song.audio[: 5 * RATE].reshape(5, RATE)
        assert seconds.std(axis=1).min() > 0.02  # no second is silent


@pytest.mark.parametrize("bpm", [70, 97, 120, 150])
def test_tempo_of_clicks(bpm):
    clicks = np.zeros(8 * RATE, dtype=np.float32)
    for start in np.arange(0, 7.9, 60 / bpm):
        clicks[round(start * RATE) :][:200] += np.random.default_rng(0).standard_normal(200) * 0.3
    assert tempo_is(estimate_tempo(clicks, RATE), bpm)


def test_tempo_needs_sound():
    with pytest.raises(ValueError, match="no onsets"):
        estimate_tempo(np.zeros(4 * RATE), RATE)
    with pytest.raises(ValueError, match="at least 2 s"):
        estimate_tempo(np.zeros(RATE), RATE)


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 0, "seconds": 0.0}, {"seed": 0, "sampling_rate": 8000}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="must"):
        synthesize_song(**arguments)


def test_folder_with_labels(tmp_path):
    write_songs(tmp_path / "music", songs=3, seconds=1.0, seed=7, sampling_rate=RATE)
    with open(tmp_path / "music" / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == ["song_0000007.flac", "song_0000008.flac", "song_0000009.flac"]
    song = synthesize_song(8, seconds=1.0)
    assert (rows[1]["artist"], rows[1]["genre"], float(rows[1]["bpm"])) == (song.kit, song.style, song.bpm)
    audio, sampling_rate = soundfile.read(tmp_path / "music" / "song_0000008.flac", dtype="float32")
    assert sampling_rate == RATE
    np.testing.assert_allclose(audio, song.audio, atol=1 / 32768)


def test_shipped_prompt():
    audio, sampling_rate = soundfile.read(Path(__file__).parents[2] / "examples" / "prompt.wav", dtype="float32")
    song = synthesize_song(HELD_OUT_SEED + 14, seconds=3.0)
    assert sampling_rate == song.sampling_rate
    np.testing.assert_allclose(audio, song.audio, atol=2 / 32768)
    assert tempo_is(estimate_tempo(audio, sampling_rate), song.bpm)
