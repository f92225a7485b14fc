import pickle

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
def test_a_sample_does_not_depend_on_the_range_it_is_read_with(write_song, file_rate, rate):
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
def test_ranges_of_compressed_files_equal_the_whole(write_song, name):
    recording = open_one(write_song(name, 3.0, 44100), 22050)
    whole = recording.read(0, recording.num_samples)
    np.testing.assert_array_equal(recording.read(30011, 20000), whole[:, 30011:50011])


def test_mono_is_the_weighted_mix_of_two_channels_and_the_mean_of_others():
    stereo = np.array([[1, 0, 0.5], [0, 1, 0.5]], np.float32)
    np.testing.assert_array_equal(mix_to_mono(stereo), [0.5, 0.5, 0.5])
    np.testing.assert_allclose(mix_to_mono(stereo, 0.8), [0.8, 0.2, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(mix_to_mono(stereo[:1], 0.8), stereo[0])
    np.testing.assert_allclose(mix_to_mono(np.ones((3, 2), np.float32), 0.8), [1, 1])


def test_the_default_mix_equals_that_of_the_pipeline(write_song):
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


def test_a_folder_without_readable_files_is_refused(write_song):
    folder = write_song("a.wav").parent
    (folder / "a.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"None of the 1 audio files can be read; the first, a.wav: .*not audio"):
        open_recordings(songs_of_folder(folder), 4000)


@pytest.mark.parametrize(("name", "rate"), [("a.mp3", 44100), ("a.mp3", 22050), ("a.flac", 44100), ("a.flac", 22050)])
def test_a_truncated_file_is_used_up_to_its_end(write_song, caplog, name, rate):
    path = write_song(name, 4.0, 44100)
    before = open_one(path, rate)
    whole = before.read(0, before.num_samples)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"now ends after|cut short|no samples"):
        before.read(before.num_samples - 1000, 1000)  # of a file that was complete when training began
    half = open_one(path, rate)
    assert 1.5 * rate < half.num_samples < 2.5 * rate
    assert caplog.text.count(f"{name} is cut short: it ends after {half.info.duration_in_s:.2f} s, but its") == 1
    assert "its header says 4.00 s. Using what is there." in caplog.text
    found = half.read(0, half.num_samples)
    np.testing.assert_allclose(found[:, : -rate // 10], whole[:, : half.num_samples - rate // 10], atol=1e-6)
    np.testing.assert_array_equal(half.read(half.num_samples - 1000, 1000), found[:, -1000:])


def test_the_samples_of_a_flac_of_unknown_length_are_counted(write_song):
    path = write_song("a.flac", 4.0, 44100)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the number of samples in the first block: unknown
    expected = open_one(path, 44100).read(0, 4 * 44100)
    path.write_bytes(content)
    recording = open_one(path, 44100)
    assert recording.num_samples == 4 * 44100
    np.testing.assert_array_equal(recording.read(0, 4 * 44100), expected)
    np.testing.assert_array_equal(recording.read(100_000, 5000), expected[:, 100_000:105_000])


def test_the_frames_of_an_mp3_are_located_once(write_song):
    recording = pickle.loads(pickle.dumps(open_one(write_song("a.mp3", 6.0, 44100), 44100)))  # as in a worker process
    content = recording.song.audio.path.read_bytes()
    recording.song.audio.path.write_bytes(bytes(len(content) // 2) + content[len(content) // 2 :])
    assert recording.read(5 * 44100, 30_000).std() > 0.01  # earlier frames are not needed


def test_the_last_tenth_of_the_songs_is_held_out():
    assert [is_held_out(i, 20) for i in range(20)] == [False] * 18 + [True] * 2
    assert [is_held_out(i, 2) for i in range(2)] == [False, True]
    assert not is_held_out(0, 1)
