"""Cleaning of lyrics, LRC times, and the characters of a window."""

from __future__ import annotations

import string
import unicodedata

import pytest

from hf_jukebox.labels.lyrics import Lyrics, clean_lyrics, timed_lines, unread_stamp
from hf_jukebox.presets import ALPHABET_V2, ALPHABET_V3

CYRILLIC = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя .,\n"
RATE = 1000


def window(lyrics: Lyrics, size: int, seconds: float, total: float = 100.0) -> str:
    """Return the text of the window of 2 s around a time."""
    timing = {"total_length": int(total * RATE), "offset": int((seconds - 1) * RATE), "window_length": 2 * RATE}
    return "".join(lyrics.text[i] for i in lyrics.window(size, sampling_rate=RATE, **timing) if i >= 0)


@pytest.mark.parametrize(
    ("text", "alphabet", "expected"),
    [
        ("naïve café — “quoted” … 1+1=2\\new line", ALPHABET_V2, 'naive cafe -- "quoted" ... 1+12\nnew line'),
        ("naïve café — 1+1=2", ALPHABET_V3, "naive cafe -- 112"),
        ("a & b\r\n{c}", ALPHABET_V2, "a  b\nc"),
        ("Привет", ALPHABET_V2, "Privet"),
        ("привет, мир\\да! ☃", CYRILLIC, "привет, мир\nда "),
        (
            "one\rtwo\x0bthree\x0cfour\x85five\u2028six\u2029seven\r\n",
            ALPHABET_V3,
            "one\ntwo\nthree\nfour\nfive\nsix\nseven\n",
        ),
        ("\ufeffla\ufeff", ALPHABET_V3, "la"),
        (r"a bare back\slash", ALPHABET_V3, "a bare back\nslash"),
        ("“don’t” — café 👋 ♪ la", ALPHABET_V3, '"don\'t" -- cafe   la'),
        ("щука and co", "щука" + string.ascii_lowercase, "щукаandco"),
        ("", ALPHABET_V2, ""),
    ],
)
def test_cleaning_spells_text_in_the_alphabet(text: str, alphabet: str, expected: str) -> None:
    assert clean_lyrics(text, alphabet) == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("alphabet_form", ["NFC", "NFD"])
def test_letters_with_accents_are_kept_however_they_are_composed(form: str, alphabet_form: str) -> None:
    alphabet = "".join(dict.fromkeys(unicodedata.normalize(alphabet_form, CYRILLIC)))
    cleaned = clean_lyrics(unicodedata.normalize(form, "ёлка йод café"), alphabet)
    assert cleaned == unicodedata.normalize(alphabet_form, "ёлка йод ")


def test_an_alphabet_may_hold_decomposed_letters() -> None:
    assert (
        clean_lyrics("\u212b \u00c5 A\u030a", "\u212b ") == "\u212b \u212b \u212b"
    )  # the sign of the unit, and the letter


def test_short_lyrics_are_used_whole_and_padded_on_the_left() -> None:
    timing = {"total_length": 100, "offset": 40, "window_length": 10, "sampling_rate": RATE}
    assert Lyrics("abc").window(5, **timing) == [-1, -1, 0, 1, 2]
    assert Lyrics("abcde").window(5, **timing) == [0, 1, 2, 3, 4]
    assert Lyrics("").window(2, **timing) == [-1, -1]


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (10, 7), (50, 47), (96, 92), (500, 92)])
def test_plain_lyrics_move_linearly_and_stop_at_both_ends(offset: int, first: int) -> None:
    indices = Lyrics("x" * 100).window(8, total_length=100, offset=offset, window_length=2, sampling_rate=RATE)
    assert indices == list(range(first, first + 8))


def test_lrc_lines_are_sorted_by_time() -> None:
    source = """[ar: Somebody]
[offset:+500]
[00:10.50] first
[00:20.5][01:00:50]chorus
continued

[00:30.500]<00:30.50> word <00:31.00> by word
[02:00]
"""
    assert timed_lines(source) == [
        (10.0, "first"),
        (20.0, "chorus\ncontinued"),
        (30.0, "word by word"),
        (60.0, "chorus\ncontinued"),
        (119.5, ""),
    ]
    lyrics = Lyrics.parse(source, ALPHABET_V3)
    assert lyrics.text == "first\nchorus\ncontinued\nword by word\nchorus\ncontinued\n"
    assert [lyrics.text[start : start + 4] for start in lyrics.line_starts] == ["firs", "chor", "word", "chor", ""]


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("[00:02,00]", 2.0),
        ("[1:02:03.50]", 3723.5),
        ("[01:02:03,5]", 3723.5),
        ("[00:01.1234]", 1.1234),
        ("[00:01.123456789]", 1.123456789),
        ("[00:75.50]", 75.5),
        ("[01:00:50]", 60.5),
        ("[2:10]", 130.0),
        ("[00:01." + "9" * 400 + "]", 2.0),
    ],
)
def test_stamps_in_the_form_of_other_programs_are_read(stamp: str, seconds: float) -> None:
    text = f"\ufeff{stamp}we <00:80,1>turn [00:81.00]the tide\u2028[99:00]{stamp}la"
    assert timed_lines(text) == [(seconds, "we turn the tide"), (seconds, "la"), (5940.0, "la")]


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("[00;02] la\n[00;04] la\nla\nla", "[00;02]"),
        ("(0:01) la\n(0:02) la", "(0:01)"),
        ("{ 12.5 }la\n{13.5}la", "{ 12.5 }"),
        ("[00:01.00]la\nla\n[00:02.00]la\nla\nla", "[00:01.00]"),
        ("[1]\nla\n[2]\nla", None),
        ("[12:30] is when the train leaves\nand I am late\nagain", None),
        ("[Chorus]\nla\n[Verse 2]\nla", None),
        ("", None),
    ],
)
def test_apparent_time_stamps_in_plain_text_are_found(text: str, stamp: str | None) -> None:
    assert unread_stamp(text) == stamp
    assert timed_lines(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "[Chorus]\nwe turn the tide\n[Verse: two]\nand again",
        "[12:30] is when the train leaves\nand I am late\nagain",
        "see you at [12:30]",
        "[99:999.99] no clock shows this",
        "[ar:Somebody]\nno times at all",
        "",
    ],
)
def test_text_without_times_is_not_lrc(text: str) -> None:
    assert timed_lines(text) == []
    assert Lyrics.parse(text, ALPHABET_V3).text == clean_lyrics(text, ALPHABET_V3)


def test_timed_lyrics_follow_the_song_and_not_its_length() -> None:
    """With a fast first verse and a long outro, a linear window would be far behind the times."""
    source = "[00:00.00]aaaaaaaaa\n[00:05.00]bbbbbbbbb\n[00:10.00]ccccccccc\n[00:15.00]ddddddddd\n[00:20.00]"
    timed, plain = Lyrics.parse(source, ALPHABET_V3), Lyrics("aaaaaaaaa\nbbbbbbbbb\nccccccccc\nddddddddd\n")
    assert timed.text == plain.text
    assert window(timed, 4, 12.5) == "cccc"
    assert window(plain, 4, 12.5) == "aaaa"
    # half of the second line is sung at 7.5 s: the character after its fifth
    assert timed.window(4, total_length=100000, offset=6500, window_length=2000, sampling_rate=RATE) == [13, 14, 15, 16]
    assert window(timed, 4, 60.0) == "ddd\n"


def test_times_before_the_first_line_and_in_the_last_one() -> None:
    lyrics = Lyrics.parse("[00:20.00]abcdefghij\n[00:30.00]klmnopqrstuvwxyz", ALPHABET_V3)
    assert window(lyrics, 4, 5.0) == "abcd"
    assert window(lyrics, 4, 65.0) == "qrst"  # the last line ends with the song, at 100 s
    assert window(lyrics, 4, 99.0) == "wxyz"
    assert window(lyrics, 4, 25.0, total=10.0) == "defg"  # a song said to be shorter than its lyrics


def test_the_alphabet_may_lack_the_newline() -> None:
    lyrics = Lyrics.parse("[00:01.00]ab\n[00:02.00]ba", "ab")
    assert (lyrics.text, lyrics.line_starts) == ("abba", (0, 2))
