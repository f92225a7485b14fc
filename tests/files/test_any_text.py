"""Arbitrary text in users' files is read or refused in one sentence, independent of its Unicode form."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_jukebox.files.text import read_json_object
from hf_jukebox.labels.lyrics import Lyrics, clean_lyrics, plain_text, timed_lines, unread_stamp
from hf_jukebox.labels.vocabulary import LevelVocabulary, normalize_name, read_ids
from hf_jukebox.presets import ALPHABET_V2, ALPHABET_V3
from hf_jukebox.runs.song_requests import folder_name, read_songs
from hf_jukebox.training.data.audio_folder import songs_of_folder

CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя .,\n"
ALPHABETS = [ALPHABET_V2, ALPHABET_V3, CYRILLIC, "".join(dict.fromkeys(unicodedata.normalize("NFD", CYRILLIC)))]
# Text of all scripts, and text that is full of what means something in a clock, a table or YAML.
MEANINGFUL = st.text(st.sampled_from("[]<>(){}:;.,'\"\\\n\r\t -#&*!|%@=~019aeё\u0301\u0308\x85\u2028\ufeff\u212b"))
TEXT = st.text(max_size=200) | MEANINGFUL
RULES = st.sampled_from(["v2", "v3"])

quickly = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


Result = TypeVar("Result")


def read_or_refused(read: Callable[[Path], Result], path: Path) -> Result | None:
    """Return the content of a path, or None if it is refused by one sentence with its name."""
    try:
        return read(path)
    except (ValueError, OSError) as error:
        if path.name not in str(error) or "\n" in str(error):
            raise
    return None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(b"")
    return tmp_path


@quickly
@given(TEXT, RULES)
def test_normalised_names_are_stable_and_equal_in_every_unicode_form(name: str, rules: str) -> None:
    written = normalize_name(name, rules)
    assert normalize_name(written, rules) == written
    for form in ("NFC", "NFD"):
        assert normalize_name(f"\ufeff {unicodedata.normalize(form, name)}\u00a0", rules) == written
    if written:
        assert LevelVocabulary(rules, {written: 5}, {}).artist_id(f" {name} ") == 5


@quickly
@given(TEXT, st.sampled_from(ALPHABETS))
def test_cleaned_lyrics_are_stable_and_equal_in_every_unicode_form(text: str, alphabet: str) -> None:
    cleaned = clean_lyrics(text, alphabet)
    assert set(cleaned) <= set(alphabet)
    assert clean_lyrics(cleaned, alphabet) == cleaned
    assert clean_lyrics(unicodedata.normalize("NFD", text), alphabet) == cleaned
    assert plain_text(plain_text(text)) == plain_text(text)


@quickly
@given(st.lists(st.tuples(st.sampled_from(["", "[00:01.5]", "[1:02:03,4]", "[offset:+5]", "[ar:x]", "[9"]), TEXT)))
def test_any_text_can_be_parsed_as_lyrics(lines: list[tuple[str, str]]) -> None:
    source = "\n".join(stamp + line for stamp, line in lines)
    unread_stamp(source)
    lyrics = Lyrics.parse(source, ALPHABET_V3)
    assert len(lyrics.line_times) == len(lyrics.line_starts) == len(timed_lines(source))
    assert sorted(lyrics.line_times) == list(lyrics.line_times)
    timing = {"total_length": 100_000, "offset": 50_000, "window_length": 1000, "sampling_rate": 1000}
    assert len(lyrics.window(20, **timing)) == 20


@quickly
@given(TEXT.map(str.encode) | st.binary())
def test_any_file_of_names_is_read_or_refused(folder: Path, content: bytes) -> None:
    (folder / "ids.txt").write_bytes(content)
    ids = read_or_refused(read_ids, folder / "ids.txt") or {}
    (folder / "again.txt").write_text("".join(f"{name};{index}\n" for name, index in ids.items()), "utf-8", newline="")
    assert read_ids(folder / "again.txt") == ids


@quickly
@given(st.sampled_from(["", "file_name,artist\n", "file_name;lyrics\na.wav;", "sep=;\n"]), TEXT)
def test_any_table_is_read_or_refused(folder: Path, start: str, content: str) -> None:
    (folder / "metadata.csv").write_text(start + content, "utf-8", newline="")
    read_or_refused(songs_of_folder, folder)


@quickly
@given(
    st.lists(TEXT | st.dictionaries(st.sampled_from(["file_name", "artist", "x"]), TEXT | st.floats()).map(json.dumps))
)
def test_any_lines_of_json_are_read_or_refused(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines), "utf-8", newline="")
    read_or_refused(songs_of_folder, tmp_path)


FIELDS = st.sampled_from(["name", "artist", "lyrics", "prompt", "seed", "seconds", "offset_seconds", "other"])
VALUES = TEXT | st.floats() | st.integers() | st.none() | st.booleans() | st.lists(TEXT)


@quickly
@given(st.lists(st.dictionaries(FIELDS, VALUES)), st.booleans())
def test_any_requests_are_read_or_refused(tmp_path: Path, songs: list[dict[str, object]], as_lines: bool) -> None:
    path = tmp_path / ("songs.jsonl" if as_lines else "songs.yaml")
    content = "\n".join(map(json.dumps, songs)) if as_lines else json.dumps(songs)  # JSON is YAML
    path.write_text(content, "utf-8")
    for song in read_or_refused(read_songs, path) or []:
        assert (tmp_path / "batch" / song.name).parent == tmp_path / "batch"
        assert song.generator() is not None


@quickly
@given(TEXT, st.sampled_from(["songs.yaml", "songs.jsonl"]))
def test_any_text_as_requests_is_read_or_refused(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / name).write_text(text, "utf-8", newline="")
    read_or_refused(read_songs, tmp_path / name)


@quickly
@given(TEXT)
def test_a_folder_name_is_stable(title: str) -> None:
    assert folder_name(folder_name(title)) == folder_name(title)


@quickly
@given(
    st.binary()
    | TEXT.map(str.encode)
    | st.dictionaries(TEXT, st.floats()).map(lambda value: json.dumps(value).encode())
)
def test_any_settings_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.json").write_bytes(content)
    assert isinstance(read_or_refused(read_json_object, tmp_path / "settings.json"), dict | None)
