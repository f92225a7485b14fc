"""Runs that are heard while they are sampled, by programs that read stdout and by a stand-in for the sound card."""

import sys
import types
import wave
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import run
from helpers.forked import Forked
from helpers.tiny import codes_in_s

from hf_jukebox import JukeboxRun

SECONDS = codes_in_s(6)


def pcm(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


class FileCard:
    """Stand-in for sounddevice, which plays into memory."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self) -> None:
        self.played: list[np.ndarray] = []
        self.rate, self.is_closed = 0.0, False

    def query_devices(self, kind: str) -> dict[str, str]:
        return {"name": f"a file as {kind}"}

    def OutputStream(self, samplerate: float, channels: int, dtype: str) -> object:
        assert (channels, dtype) == (1, "float32")
        self.rate = samplerate
        return types.SimpleNamespace(
            start=lambda: None, write=self.played.append, stop=lambda: None, close=lambda: setattr(self, "is_closed", 1)
        )


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FileCard:
    card = FileCard()
    monkeypatch.setitem(sys.modules, "sounddevice", card)  # type: ignore[arg-type]
    return card


@pytest.mark.parametrize("level", [None, 0])
def test_what_is_played_is_the_wav_of_the_run(card: FileCard, model: Path, tmp_path: Path, level: int | None) -> None:
    option = [] if level is None else ["--play-level", level]
    result = run("sample", "--model", model, "--seconds", SECONDS, "-o", tmp_path / "run", "--play", *option)
    assert result.exit_code == 0, result.output
    played = np.concatenate(card.played)[:, 0]
    top = JukeboxRun.open(tmp_path / "run").audio_paths()[2 if level is None else level][0]
    assert np.rint(played * 32768).clip(-32768, 32767).astype("<i2").tobytes() == pcm(top)
    assert card.rate == 22050 and card.is_closed


def test_a_run_that_is_resumed_and_continued_is_played_too(card: FileCard, model: Path, tmp_path: Path) -> None:
    run("sample", "--model", model, "--seconds", SECONDS, "--levels", 2, "-o", tmp_path / "run", "-q")
    for words in (["resume"], ["continue", "--seconds", codes_in_s(9)]):
        card.played.clear()
        assert run(words[0], tmp_path / "run", *words[1:], "--play", "-q").exit_code == 0
        assert sum(map(len, card.played)) == len(pcm(tmp_path / "run" / "level_2" / "item_0.wav")) // 2


def test_a_level_that_is_not_sampled_is_not_heard(card: FileCard, model: Path, tmp_path: Path) -> None:
    run("sample", "--model", model, "--seconds", SECONDS, "--levels", 2, "-o", tmp_path / "run", "-q")
    result = run("upsample", tmp_path / "run", "--play", "--play-level", 2)
    assert result.exit_code == 0 and not card.played
    assert "level 2 was not sampled, so there was nothing to hear" in result.stderr


def test_a_growing_wav_or_the_samples_alone_go_to_stdout(model: Path, tmp_path: Path) -> None:
    for stream_format in ("wav", "pcm"):
        folder = tmp_path / stream_format
        sample = ["sample", "--model", model, "--seconds", SECONDS, "--levels", 2, "-o", folder]
        with Forked("hf_jukebox", *sample, "--stream", "-", "--stream-format", stream_format) as process:
            assert process.stdout is not None
            heard = process.stdout.read()
            _, errors = process.communicate()
        assert process.returncode == 0, errors
        header = 44 if stream_format == "wav" else 0
        assert heard[header:] == pcm(folder / "level_2" / "item_0.wav")
        assert heard[:header][:16] == (b"RIFF\xff\xff\xff\xffWAVEfmt " if header else b"")
        assert "item_0.wav" in errors  # where the files are is not on stdout
        if header:
            (tmp_path / "heard.wav").write_bytes(heard)
            again = run(
                "sample", tmp_path / "heard.wav", "--model", model, "--levels", 2, "-o", tmp_path / "again", "-q"
            )
            assert again.exit_code == 0, again.output


def test_a_reader_that_goes_away_stops_the_run_and_loses_nothing(model: Path, tmp_path: Path) -> None:
    sample = ["sample", "--model", model, "--seconds", 3, "-o", tmp_path / "run", "--stream", "-"]
    with Forked("hf_jukebox", *sample) as process:
        assert process.stdout is not None
        process.stdout.read(60)
        process.stdout.close()
        _, errors = process.communicate()
    assert process.returncode == 141, errors
    assert f"stopped, since nobody reads on; continue with: hf-jukebox resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
    assert not JukeboxRun.open(tmp_path / "run").is_finished


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)


@pytest.mark.usefixtures("no_card")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--play"], "--play needs the package sounddevice; install it with: pip install sounddevice"),
        (["--stream", "out.wav"], "--stream takes - for stdout"),
        (["--stream", "-", "--stream-format", "mp3"], "must be wav or pcm"),
        (["--stream", "-", "--play"], "leave one of them out"),
        (["--stream", "-", "--progress", "json"], "leave one of them out"),
        (["--stream-format", "wav"], "--stream-format is for --stream -"),
        (["--play-level", "0"], "--play-level is for --play and --stream -"),
        (["--stream", "-", "--levels", "2", "--play-level", "0"], "--play-level 0 is not among the levels"),
        (["--stream", "-", "--play-level", "3"], "--play-level 3 is not among the levels"),
        (["--prompt-seconds", "1"], "--prompt-seconds is for a prompt"),
    ],
)
def test_what_cannot_be_heard_is_refused_before_a_model_is_loaded(
    words: list[str], message: str, tmp_path: Path
) -> None:
    result = run("sample", "--model", tmp_path / "none", "-o", tmp_path / "run", *words)
    assert result.exit_code == 2 and message in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_machine_without_a_sound_card_is_named(card: FileCard, tmp_path: Path, monkeypatch) -> None:
    def none(kind: str) -> None:
        raise ValueError("No output device matching")

    monkeypatch.setattr(card, "query_devices", none)
    result = run("sample", "--model", tmp_path / "none", "-o", tmp_path / "run", "--play")
    assert result.exit_code == 2 and "There is no sound card to play on (No output device matching)" in result.stderr


def test_a_sound_card_that_fails_ends_the_command_with_one_line(
    card: FileCard, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**settings: object) -> None:
        raise card.PortAudioError("Device unavailable")

    monkeypatch.setattr(card, "OutputStream", broken)
    result = run("sample", "--model", model, "--seconds", SECONDS, "-o", tmp_path / "run", "--play", "-q")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "The audio cannot be played: Device unavailable." in result.stderr
