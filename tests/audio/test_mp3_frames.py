"""mp3 files from the wild: their true length, reading from the middle, and files that are not mp3."""

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_jukebox.audio import audio_info, iter_audio, read_audio
from hf_jukebox.audio.mp3_frames import index_mp3, read_header
from hf_jukebox.audio.mp3_stream import Mp3Stream

RATE = 44100
DELAY = 1105  # samples that the encoder adds in front, and says so in its tag


def music(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """Plucked notes and noise, `[T, channels]`: quiet in the first half, loud in the second."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((len(time), channels))
    notes = 0.3 * np.sin(2 * np.pi * 220 * time) * np.exp(-6 * (time % 0.5))
    return (notes[:, None] + 0.02 * noise) * np.where(time < seconds / 2, 1e-3, 1)[:, None]


def encoded(sound: np.ndarray, rate: int = RATE, mode: str = "CONSTANT", compression: float = 0.4) -> bytes:
    file = io.BytesIO()
    options = {"bitrate_mode": mode, "compression_level": compression}
    soundfile.write(file, sound, rate, format="MP3", subtype="MPEG_LAYER_III", **options)
    return file.getvalue()


def without_tag(content: bytes) -> bytes:
    """Remove the first frame of an mp3 if it holds a Xing or Info tag, which does not fit at the lowest rates."""
    size = read_header(content[:4]).size
    return content[size:] if b"Xing" in content[:size] or b"Info" in content[:size] else content


def id3(size: int) -> bytes:
    body = b"APIC" + struct.pack(">I", size) + bytes(2) + np.random.default_rng(1).bytes(size)
    return b"ID3\x03\0\0" + bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0)) + body


def ape(size: int) -> bytes:
    footer = b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, 0) + bytes(8)
    return np.random.default_rng(2).bytes(size) + footer


def riff(content: bytes) -> bytes:
    form = struct.pack("<HHIIHHH", 0x55, 1, RATE, 16000, 1, 0, 12) + bytes(12)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


CONSTANT, VARIABLE = (encoded(music(3.0), mode=mode) for mode in ("CONSTANT", "VARIABLE"))
BARE, BARE_VARIABLE = without_tag(CONSTANT), without_tag(VARIABLE)


def decoded(content: bytes) -> np.ndarray:
    """Decode an mp3 with a correct tag by libsndfile, in one read."""
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return file.read(file.frames, dtype="float32")


@pytest.mark.parametrize(
    ("content", "tagged"),
    [
        pytest.param(BARE, CONSTANT, id="no tag"),
        pytest.param(BARE_VARIABLE, VARIABLE, id="variable rate without a tag"),
        pytest.param(id3(300_000) + BARE, CONSTANT, id="cover picture"),
        pytest.param(id3(10) + id3(5000) + BARE, CONSTANT, id="two tags"),
        pytest.param(BARE + b"TAG" + b"Title".ljust(125, b"\0"), CONSTANT, id="ID3v1"),
        pytest.param(BARE + ape(30_000) + b"TAG" + bytes(125), CONSTANT, id="APE and ID3v1"),
        pytest.param(BARE + b"LYRICSBEGIN" + b"la la " * 999 + b"005994LYRICS200", CONSTANT, id="Lyrics3"),
        pytest.param(BARE + np.random.default_rng(3).bytes(400_000), CONSTANT, id="junk behind"),
        pytest.param(BARE + bytes(5000), CONSTANT, id="zeros behind"),
        pytest.param(BARE[:5000] + bytes(70_000) + BARE[5000:], None, id="a hole in a frame"),
    ],
)
def test_an_untagged_mp3_is_read_to_its_end(tmp_path, capfd, content, tagged):
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    info, whole = audio_info(path), read_audio(path, RATE)
    assert len(whole) == info.frames == -(-(3 * RATE + DELAY) // 1152) * 1152 and info.remark is None
    if tagged is not None:
        np.testing.assert_array_equal(whole[DELAY:][: 3 * RATE], decoded(tagged))
    assert np.abs(whole[2 * RATE :]).max() > 0.1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(CONSTANT, id="constant"),
        pytest.param(VARIABLE, id="variable"),
        pytest.param(id3(1000) + bytes(100_000) + CONSTANT, id="padded tag"),
        pytest.param(riff(VARIABLE), id="in a wav"),
        pytest.param(CONSTANT + bytes(5000), id="zeros behind"),
        pytest.param(CONSTANT + b"TAG" + bytes(125), id="ID3v1"),
    ],
)
def test_a_tagged_mp3_is_trimmed_by_the_encoder_delay(tmp_path, capfd, content):
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    whole = read_audio(path, RATE)
    assert audio_info(path).frames == len(whole) == 3 * RATE
    np.testing.assert_array_equal(whole, decoded(VARIABLE if VARIABLE in content else CONSTANT))
    part = read_audio(path, RATE, offset_in_s=100_000 / RATE, duration_in_s=4000 / RATE)
    np.testing.assert_array_equal(part, whole[100_000:104_000])
    assert capfd.readouterr() == ("", "")


def test_joined_mp3s_are_read_one_after_the_other(tmp_path, capfd):
    path = tmp_path / "joined.mp3"
    path.write_bytes(CONSTANT + id3(2000) + CONSTANT)
    frames = -(-(3 * RATE + DELAY) // 1152)
    assert audio_info(path).frames == len(read_audio(path, RATE)) == (2 * frames + 1) * 1152 - DELAY
    second = read_audio(path, RATE, offset_in_s=(frames + 1) * 1152 / RATE)
    np.testing.assert_allclose(second[: 3 * RATE], decoded(CONSTANT), atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_mp3_is_read_to_its_end_with_a_warning(tmp_path):
    path = tmp_path / "half.mp3"
    path.write_bytes(VARIABLE[: 3 * len(VARIABLE) // 4])
    info = audio_info(path)
    assert 1.5 < info.duration_in_s < 2.9 and info.stated_frames == 3 * RATE
    with pytest.warns(
        UserWarning, match=rf"half.mp3 is cut short: it ends after {info.duration_in_s:.2f} s, .* 3.00 s"
    ):
        whole = read_audio(path, RATE)
    np.testing.assert_array_equal(whole, decoded(VARIABLE)[: info.frames])
    assert len(read_audio(path, RATE, info=info)) == info.frames  # without a warning, which would be an error here


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
@pytest.mark.parametrize(("mode", "compression"), [("CONSTANT", 0.99), ("CONSTANT", 0.0), ("VARIABLE", 0.5)])
def test_the_middle_of_an_mp3_equals_the_whole_bit_for_bit(rate, channels, mode, compression, capfd):
    tagged = encoded(music(4.0, rate, channels)[: 4 * rate], rate, mode, compression)
    content = without_tag(tagged)
    info = audio_info(content)
    whole = np.concatenate(list(iter_audio(content, info.sampling_rate, mix=False, block_in_s=99.0)))
    assert len(whole) == info.frames
    expected, delay = decoded(tagged).reshape(-1, channels), DELAY if tagged != content else 0
    np.testing.assert_array_equal(whole[delay:][: len(expected)], expected[: len(whole) - delay])
    rng = np.random.default_rng(0)
    for start in [0, 1, 1151, 1152, info.frames - 1, *rng.integers(0, info.frames - 2000, 10).tolist()]:
        offset, duration = start / info.sampling_rate, 1999 / info.sampling_rate
        part = read_audio(content, info.sampling_rate, offset_in_s=offset, duration_in_s=duration, mix=False, info=info)
        np.testing.assert_array_equal(part, whole[start : start + 1999])
    assert capfd.readouterr() == ("", "")


def test_an_mp3_without_its_beginning_starts_at_the_first_decodable_frame(capfd):
    """Its first frames refer to missing bytes: the decoder must not get them, as it would print messages."""
    begin = len(BARE) // 2
    part = read_audio(BARE[begin:], RATE)
    whole = read_audio(BARE, RATE)
    np.testing.assert_allclose(part[-RATE:], whole[-RATE:], atol=1e-6)
    assert capfd.readouterr() == ("", "")


class Counted(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Pieces of mp3s, tags and junk in any order, with some bytes changed."""
    pieces = st.one_of(
        st.binary(max_size=300),
        st.integers(0, 2000).map(bytes),
        st.integers(0, 2000).map(lambda size: b"\xff\xfb" * size),
        st.tuples(st.integers(0, len(BARE)), st.integers(0, 5000)).map(lambda cut: BARE[cut[0] : cut[0] + cut[1]]),
        st.integers(0, len(VARIABLE)).map(lambda end: VARIABLE[:end]),
        st.just(id3(100)[:60]),
    )
    content = bytearray(b"".join(draw(st.lists(pieces, max_size=6))))
    for place in draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=20)) if content else []:
        content[place] = draw(st.integers(0, 255))
    return bytes(content)


@settings(max_examples=150, deadline=None)
@given(content=damaged())
def test_indexing_arbitrary_bytes_stays_inside_the_file(content):
    file = Counted(content)
    index = index_mp3(file)
    assert file.reads <= len(content) / 20 + 20  # the smallest frame has 24 bytes
    if index is None:
        return
    assert all(0 <= begin < end <= len(content) for begin, end in index.spans)
    assert all(a[1] < b[0] for a, b in zip(index.spans, index.spans[1:], strict=False))
    assert len(index.offsets) == -(-index.num_frames // 16) and 0 <= index.length <= index.num_frames * 1152
    for sample in (0, index.length // 2, max(index.length - 1, 0)):
        first, dropped = index.start(sample)
        assert first % 16 == 0 and dropped >= 0 and first * index.kind.samples + dropped == sample + index.delay
    stream, frames = Mp3Stream(io.BytesIO(content), index, 0), 0
    while header := read_header(stream.read(4)):
        stream.seek(header.size - 4, io.SEEK_CUR)
        frames += 1
    assert frames == index.num_frames


@settings(max_examples=60, deadline=None)
@given(content=damaged())
def test_anything_is_read_or_refused_in_one_sentence(content):
    try:
        info = audio_info(content)
        audio = read_audio(content, info.sampling_rate, info=info)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert 0 < len(audio) <= info.frames
    assert "\n" not in refused
