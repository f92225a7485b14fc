"""Text files and typed text of users on the command line: read as they are meant, or one line with the file's name."""

import json
from pathlib import Path

import pytest
from helpers.command_line import run
from helpers.tiny import codes_in_s

from hf_jukebox.cli.values import read_lyrics
from hf_jukebox.convert.openai_settings import SettingsSource
from hf_jukebox.labels.lyrics import Lyrics
from hf_jukebox.presets import ALPHABET_V3
from hf_jukebox.runs.folder import JukeboxRun
from hf_jukebox.training.train_vqvae import read_settings

LRC = "[00:00.00]We turn the tide\n[00:02.00]and then again\n"


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\u2028"])
def test_a_file_of_lyrics_is_the_same_from_every_editor(tmp_path: Path, start: str, line_break: str) -> None:
    (tmp_path / "a.lrc").write_bytes((start + LRC.replace("\n", line_break)).encode())
    text = read_lyrics(None, tmp_path / "a.lrc")
    assert text is not None
    lyrics = Lyrics.parse(text, ALPHABET_V3)
    assert (lyrics.text, lyrics.line_times) == ("We turn the tide\nand then again", (0.0, 2.0))


def test_a_typed_line_break_is_one_on_the_command_line_alone(tmp_path: Path) -> None:
    assert read_lyrics(r"one\ntwo", None) == "one\ntwo"
    (tmp_path / "a.txt").write_text(r"one\ntwo")
    assert read_lyrics(None, tmp_path / "a.txt") == r"one\ntwo"
    with pytest.raises(ValueError, match="not both"):
        read_lyrics("one", tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("option", "name", "content", "message"),
    [
        ("--lyrics-file", "a.txt", "für dich".encode("latin-1"), "a.txt is not UTF-8 text; save it as UTF-8"),
        ("--lyrics-file", "a.txt", "für dich".encode("utf-16"), "a.txt is not UTF-8 text; save it as UTF-8"),
        ("--lyrics-file", "a.txt", None, "a.txt cannot be read: No such file or directory"),
        ("--requests", "a.yaml", "- {artist: für}".encode("latin-1"), "a.yaml is not UTF-8 text; save it as UTF-8"),
        ("--requests", "a.jsonl", None, "There is no file"),
    ],
)
def test_a_file_that_is_no_utf8_is_named_before_the_model_is_loaded(
    tmp_path: Path, option: str, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("sample", option, tmp_path / name, "--model", tmp_path / "no-model", "-o", tmp_path / "out")
    assert result.exit_code == 2 and message in result.stderr.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_names_and_lyrics_reach_the_run_as_they_are_meant(model: Path, tmp_path: Path) -> None:
    (tmp_path / "songs.yaml").write_text(
        f'\ufeff- {{name: My Song, artist: 808, genre: " Rock", lyrics: "one\u2028two", seconds: {codes_in_s(2)}}}\n',
        "utf-8",
    )
    result = run(
        "sample", "--requests", tmp_path / "songs.yaml", "--levels", 2, "--model", model, "-o", tmp_path / "out", "-q"
    )
    assert result.exit_code == 0, result.output
    (song,) = JukeboxRun.open(tmp_path / "out" / "My-Song").request.songs
    assert (song.artist, song.genre, song.lyrics) == ("808", " Rock", "one\u2028two")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]", r"a\.json must hold a JSON object"),
        (b"{", r"a\.json is not JSON: "),
        (b'{"a": "\xfc"}', r"a\.json is not UTF-8 text"),
        (b"[" * 100_000, r"a\.json is nested too deeply"),
    ],
)
def test_settings_of_models_are_read_or_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_settings(str(path))
    with pytest.raises(ValueError, match=message):
        SettingsSource(hparams=path)
    path.write_text("\ufeff" + json.dumps({"n_ctx": 64}), "utf-8")
    assert read_settings(str(path)) == {"n_ctx": 64}
    SettingsSource(hparams=path)
