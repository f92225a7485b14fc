"""Reading and writing audio, on real files of every supported format."""

import gc
import io
import os
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from hf_jukebox.audio import audio_info, iter_audio, level_remark, prepare_audio, read_audio, write_audio

# name, format, subtype, largest error of a decoded sample
FORMATS = [
    ("wav", "WAV", "PCM_16", 1e-4),
    ("wav", "WAV", "PCM_24", 1e-6),
    ("wav", "WAV", "PCM_32", 1e-6),
    ("wav", "WAV", "FLOAT", 0.0),
    ("wav", "WAV", "DOUBLE", 0.0),
    ("flac", "FLAC", "PCM_16", 1e-4),
    ("flac", "FLAC", "PCM_24", 1e-6),
    ("ogg", "OGG", "VORBIS", 0.05),
    ("opus", "OGG", "OPUS", 0.05),
    ("mp3", "MP3", "MPEG_LAYER_III", 0.05),
]
FORMAT_IDS = [f"{suffix}-{subtype}" for suffix, _, subtype, _ in FORMATS]
LOSSY = FORMATS[7:]


def sine(seconds: float, sampling_rate: int, frequency: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def music(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise without its highest and lowest frequencies, [frames, channels]."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((frames, channels)), axis=0)
    spectrum[: len(spectrum) // 200] = 0
    spectrum[len(spectrum) // 3 :] = 0
    sound = np.fft.irfft(spectrum, frames, axis=0)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def harmonic(audio: np.ndarray, sampling_rate: int, frequency: float) -> complex:
    """Amplitude and phase of a sine in the middle of `audio`, away from the edges; 1 at phase 0 is exp(0)."""
    edge = len(audio) // 5
    time = np.arange(len(audio))[edge:-edge] / sampling_rate
    window = np.hanning(len(time))
    return 2j * np.sum(audio[edge:-edge] * window * np.exp(-2j * np.pi * frequency * time)) / window.sum()


@pytest.mark.parametrize(("suffix", "container", "subtype", "tolerance"), FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_keeps_its_samples(tmp_path, suffix, container, subtype, tolerance, channels):
    path = tmp_path / f"sound.{suffix}"
    sound = np.stack([sine(1.5, 48000, 440.0 * (1 + channel), 0.4) for channel in range(channels)], axis=1)
    soundfile.write(path, sound, 48000, format=container, subtype=subtype)

    mixed, apart = read_audio(path, 48000), read_audio(path, 48000, mix=False)
    assert mixed.dtype == apart.dtype == np.float32
    assert mixed.shape == (72000,)
    assert apart.shape == (72000, channels)
    edge = 1000 if (suffix, container, subtype, tolerance) in LOSSY else 0  # an encoder fades in and out
    np.testing.assert_allclose(apart[edge : 72000 - edge], sound[edge : 72000 - edge], atol=tolerance)
    np.testing.assert_allclose(mixed, apart.mean(axis=1), atol=1e-7)
    info = audio_info(path)
    assert (info.frames, info.sampling_rate, info.channels, info.duration_in_s) == (72000, 48000, channels, 1.5)


@pytest.mark.parametrize("rate_in", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("rate_out", [22050, 44100])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_resampling_keeps_frequency_phase_and_level(tmp_path, rate_in, rate_out, channels):
    path = tmp_path / "sine.wav"
    sound = np.repeat(sine(0.7, rate_in, 1000.0)[:, None], channels, axis=1)
    soundfile.write(path, sound, rate_in, subtype="FLOAT")
    audio = read_audio(path, rate_out)
    assert audio.shape == (round(len(sound) * rate_out / rate_in),)
    np.testing.assert_allclose(harmonic(audio, rate_out, 1000.0), 0.5, atol=1e-4)
    edge = rate_out // 50
    np.testing.assert_allclose(audio[edge:-edge], sine(0.7, rate_out, 1000.0)[edge:-edge], atol=1e-4)


@pytest.mark.parametrize(("suffix", "container", "subtype", "tolerance"), LOSSY, ids=FORMAT_IDS[7:])
@pytest.mark.parametrize("rate_out", [22050, 44100])
def test_lossy_formats_keep_frequency_phase_and_level(tmp_path, suffix, container, subtype, tolerance, rate_out):
    path = tmp_path / f"sine.{suffix}"
    soundfile.write(path, sine(1.0, 48000, 1000.0), 48000, format=container, subtype=subtype)
    np.testing.assert_allclose(harmonic(read_audio(path, rate_out), rate_out, 1000.0), 0.5, atol=0.02)


def test_frequencies_above_the_new_nyquist_frequency_are_removed(tmp_path):
    soundfile.write(tmp_path / "high.wav", sine(0.5, 48000, 15000.0), 48000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "high.wav", 22050)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("frames", [1, 2, 999, 22049, 22050, 22051])
@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 22050), (22050, 44100), (48000, 44100), (8000, 44100)])
def test_a_resampled_file_has_the_exact_length(tmp_path, frames, rate_in, rate_out):
    path = tmp_path / "sound.wav"
    soundfile.write(path, music(frames + 10)[:frames], rate_in)
    length = round(frames * rate_out / rate_in)
    if length == 0:
        with pytest.raises(ValueError, match="too short"):
            read_audio(path, rate_out)
        return
    assert len(read_audio(path, rate_out)) == length
    assert len(prepare_audio(music(frames + 10)[:frames, 0], rate_in, rate_out)) == length


@pytest.mark.parametrize(("suffix", "container", "subtype", "_"), FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize("block_in_s", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("rate_out", [48000, 22050])
def test_joined_blocks_equal_the_whole_file(tmp_path, suffix, container, subtype, _, block_in_s, rate_out):
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, music(96000, 2), 48000, format=container, subtype=subtype)
    whole = read_audio(path, rate_out, mix=False)
    blocks = list(iter_audio(path, rate_out, mix=False, block_in_s=block_in_s))
    assert len(blocks) >= 2
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_allclose(read_audio(path, rate_out), whole.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [22050, 48000])
@pytest.mark.parametrize("compression", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_an_mp3_reads_the_same_in_blocks_and_from_the_middle(tmp_path, rate, compression, bitrate_mode):
    """Seeking inside an mp3 loses the decoder's state from earlier frames, or is inexact: reading must not seek."""
    path = tmp_path / "sound.mp3"
    mode = {"bitrate_mode": bitrate_mode, "compression_level": compression}
    soundfile.write(path, music(6 * rate), rate, format="MP3", subtype="MPEG_LAYER_III", **mode)
    rate = audio_info(path).sampling_rate  # an encoder may lower it
    whole = read_audio(path, rate)
    np.testing.assert_array_equal(np.concatenate(list(iter_audio(path, rate, block_in_s=0.13))), whole)
    part = read_audio(path, rate, offset_in_s=3.3, duration_in_s=1.0)
    np.testing.assert_array_equal(part, whole[round(3.3 * rate) :][:rate])


@pytest.mark.parametrize(("suffix", "container", "subtype", "_"), FORMATS, ids=FORMAT_IDS)
@pytest.mark.parametrize(("offset", "duration"), [(0.0, 0.5), (1.2345, 0.25), (2.9, None), (1.0, 99.0)])
def test_a_part_of_a_file_equals_that_part_of_the_whole(tmp_path, suffix, container, subtype, _, offset, duration):
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, music(3 * 48000), 48000, format=container, subtype=subtype)
    whole = read_audio(path, 48000)
    start = round(offset * 48000)
    stop = len(whole) if duration is None else start + round(duration * 48000)
    part = read_audio(path, 48000, offset_in_s=offset, duration_in_s=duration)
    np.testing.assert_allclose(part, whole[start:stop], atol=1e-6)
    resampled = read_audio(path, 22050, offset_in_s=offset, duration_in_s=duration)
    assert len(resampled) == round(len(part) * 22050 / 48000)


def test_a_file_and_its_samples_as_an_array_give_the_same_audio(tmp_path):
    path = tmp_path / "sound.wav"
    sound = music(50_000)
    soundfile.write(path, sound, 44100, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, 22050), prepare_audio(sound[:, 0], 44100, 22050), atol=1e-6)


def test_reading_needs_the_memory_of_the_result_only(tmp_path):
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 44100, 2, subtype="PCM_16") as file:
        for _ in range(300):
            file.write(np.zeros((44100, 2), dtype=np.int16))

    def peak(read):
        tracemalloc.start()
        try:
            read()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    result = 300 * 22050 * 4
    block = 10 * 44100 * 2 * 4
    assert peak(lambda: read_audio(path, 22050)) < 1.3 * result + 4 * block
    assert peak(lambda: sum(len(part) for part in iter_audio(path, 22050))) < 4 * block
    assert peak(lambda: read_audio(path, 22050, offset_in_s=280, duration_in_s=1)) < block


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_written_audio_is_read_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    audio = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 1 / 32768], dtype=np.float32)
    write_audio(path, audio, 22050)
    info = soundfile.info(path)
    assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", 22050, 1)
    expected = np.array([0.0, 0.5, -0.5, 32767 / 32768, -1.0, 32767 / 32768, -1.0, 1 / 32768])
    np.testing.assert_array_equal(read_audio(path, 22050), expected.astype(np.float32))
    write_audio(path, read_audio(path, 22050), 22050)  # over itself: 16-bit audio stays as it is
    np.testing.assert_array_equal(read_audio(path, 22050), expected.astype(np.float32))
    assert os.listdir(tmp_path) == [path.name]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.wav"
    write_audio(path, sine(0.1, 22050), 22050)
    before = path.read_bytes()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="cannot be written: No space left"):
        write_audio(path, sine(0.2, 22050), 22050)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.wav"]


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (np.array([0.5, -0.25], dtype=np.float64), [0.5, -0.25]),
        (np.array([0.5, -0.25], dtype=np.float16), [0.5, -0.25]),
        (np.array([16384, -32768], dtype=np.int16), [0.5, -1.0]),
        (np.array([2**30, -(2**31)], dtype=np.int32), [0.5, -1.0]),
        (np.array([192, 0], dtype=np.uint8), [0.5, -1.0]),
        (torch.tensor([0.5, -0.25], dtype=torch.bfloat16), [0.5, -0.25]),
        (torch.tensor([0.5, -0.25], requires_grad=True), [0.5, -0.25]),
        (torch.tensor([16384, -32768], dtype=torch.int16), [0.5, -1.0]),
        (torch.tensor([[0.5, 0.0], [-0.25, 1.0]]), [[0.5, 0.0], [-0.25, 1.0]]),
    ],
)
def test_arrays_and_tensors_of_any_type_are_prepared(audio, expected):
    prepared = prepare_audio(audio, 44100, 44100)
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, np.array(expected, dtype=np.float32))


def test_prepared_audio_is_a_copy_and_rows_stay_separate():
    audio = music(4000, 2).T.copy()
    prepared = prepare_audio(audio, 44100, 44100)
    prepared[:] = 0
    assert np.abs(audio).max() > 0.1
    rows = prepare_audio(audio, 44100, 22050)
    assert rows.shape == (2, 2000)
    assert rows.flags.c_contiguous
    for row, sound in zip(rows, audio, strict=True):
        np.testing.assert_array_equal(row, prepare_audio(sound, 44100, 22050))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.zeros((1, 2, 100), np.float32), "mix the channels"),
        (np.zeros((100, 2), np.float32), "audio.mean"),
        (np.float32(1.0), r"\[T\]"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
        (np.array([0.0, np.inf]), "NaN or infinite"),
        (torch.tensor([0.0, -torch.inf]), "NaN or infinite"),
        (np.zeros(10, np.int64), "int64"),
        (np.zeros(10, bool), "bool"),
        (np.array(["a"]), "must be float"),
    ],
)
def test_unusable_arrays_are_refused(audio, message):
    with pytest.raises(ValueError, match=message):
        prepare_audio(audio, 44100, 22050)


@pytest.mark.parametrize("rate", [0, -1, 0.5, float("nan")])
def test_invalid_sampling_rates_are_refused(tmp_path, rate):
    soundfile.write(tmp_path / "sound.wav", sine(0.1, 8000), 8000)
    for call in (
        lambda: prepare_audio(np.zeros(10, np.float32), rate, 44100),
        lambda: prepare_audio(np.zeros(10, np.float32), 44100, rate),
        lambda: read_audio(tmp_path / "sound.wav", rate),
        lambda: write_audio(tmp_path / "out.wav", np.zeros(10, np.float32), rate),
    ):
        with pytest.raises(ValueError, match="positive whole number"):
            call()


def test_audio_shorter_than_one_resampled_sample_is_refused():
    with pytest.raises(ValueError, match="too short"):
        prepare_audio(np.zeros(1, np.float32), 96000, 22050)


@pytest.mark.parametrize("read", [lambda path: read_audio(path, 22050), audio_info])
def test_files_that_are_not_audio_are_refused(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="no file"):
        read(tmp_path / "missing.wav")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(ValueError, match="0 bytes"):
        read(tmp_path / "empty.wav")
    for name in ("text.wav", "text.mp3", "text.txt", "text.raw", "text"):
        (tmp_path / name).write_text("This is not audio. " * 50)
        with pytest.raises(ValueError, match="not audio that can be read; give a wav, flac, ogg"):
            read(tmp_path / name)
    for suffix in (".m4a", ".aac", ".MP4", ".wma"):
        (tmp_path / f"song{suffix}").write_bytes(b"\0\0\0\x20ftypM4A \0\0\2\0isomiso2" + bytes(500))
        with pytest.raises(ValueError, match=rf"\{suffix} is not supported; convert it to wav, flac, ogg .* mp3"):
            read(tmp_path / f"song{suffix}")


@pytest.mark.parametrize("suffix", ["wav", "ogg"])
def test_files_without_samples_are_refused(tmp_path, suffix):
    path = tmp_path / f"silent.{suffix}"
    soundfile.write(path, np.zeros(0, np.float32), 44100)
    assert audio_info(path).frames == 0
    with pytest.raises(ValueError, match="has no samples"):
        read_audio(path, 22050)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_files_with_infinite_samples_are_refused(tmp_path, value):
    sound = sine(1.0, 8000)
    sound[5000] = value
    soundfile.write(tmp_path / "bad.wav", sound, 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"bad\.wav has samples that are NaN or infinite"):
        read_audio(tmp_path / "bad.wav", 22050)
    assert len(read_audio(tmp_path / "bad.wav", 8000, duration_in_s=0.5)) == 4000  # only the part asked for is read


def test_damaged_files_are_refused(tmp_path):
    for suffix in ("flac", "wav"):
        whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
        soundfile.write(whole, music(100_000), 44100)
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_audio(tmp_path / "cut.flac", 44100)
    np.testing.assert_array_equal(  # a wav has no frames to be damaged: what is there is read
        read_audio(tmp_path / "cut.wav", 44100), read_audio(tmp_path / "whole.wav", 44100)[: 50_000 - 11]
    )


@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_parts_outside_the_file_are_refused(tmp_path, suffix):
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, sine(1.0, 44100), 44100)
    with pytest.raises(ValueError, match=r"no samples after 5\.0 s; choose a smaller `offset_in_s`"):
        read_audio(path, 22050, offset_in_s=5.0)
    for bad in ({"offset_in_s": -1.0}, {"offset_in_s": float("nan")}, {"duration_in_s": 0.0}, {"duration_in_s": -1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(bad))}` must be"):
            read_audio(path, 22050, **bad)
    with pytest.raises(ValueError, match="`block_in_s` must be"):
        list(iter_audio(path, 22050, block_in_s=0.0))


def test_unusable_outputs_are_refused(tmp_path):
    audio = sine(0.1, 22050)
    for name in ("out.mp3", "out", "out.ogg"):
        with pytest.raises(ValueError, match=r"must end in \.wav or \.flac"):
            write_audio(tmp_path / name, audio, 22050)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        write_audio(tmp_path / "folder.wav", audio, 22050)
    with pytest.raises(FileNotFoundError, match="create it first"):
        write_audio(tmp_path / "missing" / "out.wav", audio, 22050)
    for bad, message in (
        (np.zeros(0), "at least one sample"),
        (np.zeros((1, 5)), r"\[T\]"),
        (np.array([np.nan]), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            write_audio(tmp_path / "out.wav", bad, 22050)
    assert os.listdir(tmp_path) == ["folder.wav"]


def test_a_folder_without_write_permission_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(PermissionError, match=r"out\.wav cannot be written: Permission denied"):
        write_audio(tmp_path / "out.wav", sine(0.1, 22050), 22050)
    gc.collect()  # crashed with Python 3.12.1, or left an error behind


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_contents_and_open_files_are_read_as_their_paths_are(tmp_path, suffix):
    path = tmp_path / f"sound{suffix}"
    soundfile.write(path, music(44100), 44100)
    content = path.read_bytes()
    part = {"offset_in_s": 0.2, "duration_in_s": 0.5}
    for source in (str(path), content, io.BytesIO(content)):
        assert audio_info(source).frames == audio_info(path).frames
        np.testing.assert_array_equal(read_audio(source, 22050, **part), read_audio(path, 22050, **part))
    with open(path, "rb") as file:
        file.seek(100)  # wherever it stands
        np.testing.assert_array_equal(read_audio(file, 22050), read_audio(path, 22050))
        assert not file.closed
    with pytest.raises(ValueError, match="The audio is empty"):
        read_audio(b"", 22050)
    with pytest.raises(ValueError, match="The audio is not audio that can be read"):
        read_audio(io.BytesIO(b"no music" * 100), 22050)


def test_a_path_in_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_audio("~/sound.wav", music(1000)[:, 0], 44100)
    assert (tmp_path / "sound.wav").is_file()
    assert audio_info("~/sound.wav").frames == len(read_audio("~/sound.wav", 44100)) == 1000


def test_levels_unsuitable_for_a_prompt_are_described(tmp_path):
    path, sound = tmp_path / "inverted.wav", music(44100)[:, 0]
    soundfile.write(path, np.stack([sound, -sound], 1), 44100)
    mixed = read_audio(path, 44100)
    assert "channels cancel out" in level_remark(mixed, path)
    assert level_remark(mixed) == level_remark(np.zeros(100)) == "is silent."
    assert level_remark(sound * 4.1 / np.abs(sound).max()).startswith("exceeds full scale (its peak is 4.1)")
    assert "very quiet" in level_remark(sound * 0.003)
    assert level_remark(sound) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "song.wav",
            b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(999),
            r"is MPEG-4 audio in spite of its name; convert it to wav",
        ),
        ("song.mp3", b"<!DOCTYPE html><html>404" * 20, r"is a web page in spite of its name; give a wav"),
        ("song.flac", b"\n <html><body>" * 20, r"is a web page in spite of its name; give a wav"),
        ("song.ogg", b"version https://git-lfs.github.com/spec/v1\n", r"is a pointer of Git LFS in spite"),
        ("song.mp3", b"\x1a\x45\xdf\xa3" + bytes(99), r"is Matroska or WebM in spite of its name; convert it"),
        ("song.m4a", b"\0\0\0\x20ftypM4A " + bytes(99), r"\.m4a is not supported; convert it"),
        ("song.mp3", b"ID3\x03\0\0\0\0\0\x20" + bytes(9999), r"is not audio that can be read"),
    ],
)
def test_the_format_is_recognised_by_the_first_bytes(tmp_path, capfd, name, content, message):
    (tmp_path / name).write_bytes(content)
    for read in (audio_info, lambda path: read_audio(path, 22050)):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sizes", [(0, 0), (None, 0), (2**32 - 1, 2**32 - 1)])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_wav_that_was_never_finished_is_read_to_its_end(tmp_path, sizes, subtype):
    path = tmp_path / "sound.wav"
    soundfile.write(path, music(50_000, 2), 44100, subtype=subtype)
    whole, content = read_audio(path, 44100, mix=False), bytearray(path.read_bytes())
    data = content.index(b"data") + 4
    for place, size in zip((4, data), sizes, strict=True):
        if size is not None:
            content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert audio_info(path).frames >= 50_000
    np.testing.assert_array_equal(read_audio(path, 44100, mix=False)[:50_000], whole)
    part = read_audio(path, 44100, offset_in_s=0.5, duration_in_s=0.1, mix=False)
    np.testing.assert_array_equal(part, whole[22_050 : 22_050 + 4410])


def test_a_flac_of_unknown_length_is_counted(tmp_path):
    path = tmp_path / "sound.flac"
    soundfile.write(path, music(100_000), 44100)
    whole, content = read_audio(path, 44100), bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(b"ID3\x03\0\0\0\0\0\x20" + bytes(32) + content)  # with a tag in front, as some write it
    assert audio_info(path).frames == 100_000
    np.testing.assert_array_equal(read_audio(path, 44100, offset_in_s=1.0), whole[44100:])
    path.write_bytes(content[: len(content) // 2])
    assert 30_000 < audio_info(path).frames < 60_000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_first_stream_of_a_chained_ogg_is_read_with_a_warning(tmp_path, subtype):
    path, contents = tmp_path / "radio.ogg", []
    for rate in (48000, 24000):
        soundfile.write(path, music(2 * rate), rate, format="OGG", subtype=subtype)
        contents.append(path.read_bytes())
        assert audio_info(path).remark is None
    expected = read_audio(contents[0], 48000)
    path.write_bytes(b"".join(contents))
    assert audio_info(path).remark.startswith("has another stream after 2.00 s, which is not read")
    with pytest.warns(UserWarning, match=r"radio\.ogg has another stream"):
        np.testing.assert_array_equal(read_audio(path, 48000)[:96000], expected)


def test_unsupported_ways_to_open_a_file_are_refused(tmp_path):
    soundfile.write(tmp_path / "sound.wav", music(1000), 44100)
    with open(tmp_path / "sound.wav", encoding="latin-1") as text, pytest.raises(ValueError, match="mode 'rb'"):
        read_audio(text, 44100)
    with pytest.raises(ValueError, match="from a path, bytes or a binary file, not from list"):
        read_audio([1.0], 44100)
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb") as sink:
        sink.write((tmp_path / "sound.wav").read_bytes())
        sink.close()
        assert len(read_audio(source, 44100)) == 1000
