import numpy as np
import pytest
import soundfile
import soxr

from hf_jukebox.audio import read_audio
from hf_jukebox.training.data import open_recordings, songs_of_folder
from hf_jukebox.training.data.recordings import is_held_out, mix_to_mono


def open_one(path, rate):
    (recording,), _ = open_recordings(songs_of_folder(path.parent), rate)
    return recording


@pytest.mark.parametrize(
    ("file_rate", "rate"), [(4000, 4000), (44100, 22050), (48000, 44100), (8000, 22050), (96000, 8000)]
)
def test_a_sample_is_the_same_in_whichever_stretch_it_is_read(write_song, file_rate, rate):
    recording = open_one(write_song("a.wav", 7.1, file_rate), rate)
    whole = recording.read(0, recording.num_samples)
    assert whole.shape == (2, round(7.1 * rate)) and whole.dtype == np.float32
    at_once = soxr.resample(read_audio(recording.song.audio.path, file_rate, mix=False), file_rate, rate).T
    common = min(at_once.shape[1], whole.shape[1])
    np.testing.assert_allclose(whole[:, :common], at_once[:, :common], atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(10):
        start = int(rng.integers(recording.num_samples - 1))
        length = int(rng.integers(1, recording.num_samples - start + 1))
        np.testing.assert_array_equal(recording.read(start, length), whole[:, start : start + length])
    np.testing.assert_array_equal(recording.read(recording.num_samples - 1, 1), whole[:, -1:])


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_compressed_formats_too(write_song, name):
    recording = open_one(write_song(name, 3.0, 44100), 22050)
    whole = recording.read(0, recording.num_samples)
    np.testing.assert_array_equal(recording.read(30011, 20000), whole[:, 30011:50011])


def test_mixing_to_mono():
    stereo = np.array([[1, 0, 0.5], [0, 1, 0.5]], np.float32)
    np.testing.assert_array_equal(mix_to_mono(stereo), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(mix_to_mono(stereo, 0.8), [0.8, 0.2, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(mix_to_mono(stereo[:1], 0.8), stereo[0])
    np.testing.assert_allclose(mix_to_mono(np.ones((3, 2), np.float32), 0.8), [1, 1])


def test_the_default_mix_is_what_the_pipeline_reads(write_song):
    recording = open_one(write_song("a.wav"), 4000)
    np.testing.assert_array_equal(recording.read_mono(0, 8000), read_audio(recording.song.audio.path, 4000))


def test_files_that_cannot_be_read_are_named_and_left_out(write_song, caplog):
    folder = write_song("b.wav").parent
    (folder / "a.wav").write_bytes(b"no audio")
    (folder / "c.flac").write_bytes(b"")
    soundfile.write(folder / "d.wav", np.zeros((0, 2)), 4000)
    (folder / "e.m4a").write_bytes(b"something")
    recordings, unreadable = open_recordings(songs_of_folder(folder), 4000)
    assert [(r.song.metadata.name, r.position) for r in recordings] == [("b.wav", 1)]
    assert list(unreadable) == ["a.wav", "c.flac", "d.wav", "e.m4a"]
    assert all(name in caplog.text for name in unreadable)


def test_no_readable_file_is_one_sentence(write_song):
    folder = write_song("a.wav").parent
    (folder / "a.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"None of the 1 audio files can be read; the first, a.wav: .*not audio"):
        open_recordings(songs_of_folder(folder), 4000)


def test_a_file_that_ends_before_its_header_says(write_song):
    path = write_song("a.mp3", 4.0, 44100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recording = open_one(path, 44100)
    recording.read(0, 1000)
    with pytest.raises(ValueError, match=r"cut short|no samples"):
        recording.read(recording.num_samples - 1000, 1000)


def test_the_last_tenth_of_the_songs_is_held_out():
    assert [is_held_out(i, 20) for i in range(20)] == [False] * 18 + [True] * 2
    assert [is_held_out(i, 2) for i in range(2)] == [False, True]
    assert not is_held_out(0, 1)
