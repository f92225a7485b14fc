"""Lyrics as a prior reads them: cleaned to its alphabet, with or without times, and cut to a window."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Self

import numpy as np
from unidecode import unidecode

NO_CHARACTER = -1  # in a lyric slot that is padding

# [hh:mm:ss.xx], which needs its fraction, or [mm:ss], [mm:ss.xx], [mm:ss,xx], [mm:ss:xx]; seconds may exceed 59.
_CLOCK = r"(?:(?P<h>\d{1,2}):(?=[^\]>]*[.,]))?(?P<m>\d{1,3}):(?P<s>\d{1,2})(?:[.,:](?P<f>\d+))?"
_UNNAMED_CLOCK = re.sub(r"\?P<\w>", "?:", _CLOCK)
_STAMP = re.compile(rf"\[{_CLOCK}\]")
_STAMPED_LINE = re.compile(rf"\s*((?:\[{_UNNAMED_CLOCK}\]\s*)+)(.*)")
_WORD_STAMP = re.compile(rf"(?:<{_UNNAMED_CLOCK}>|\[\d+:\d+[.,]\d+\])\s*")
_LIKE_A_STAMP = re.compile(r"\s*([\[(<{]\s*\d+\s*[:;.,'-][\d\s:;.,'-]*\d\s*[\])>}])")
_TAG = re.compile(r"\s*\[(ar|al|ti|au|lr|by|re|ve|la|id|tool|length|offset)\s*:\s*(.*?)\s*\]\s*", re.IGNORECASE)
_MILLISECONDS = re.compile(r"[+-]?\d{1,9}")
_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")


def plain_text(text: str) -> str:
    r"""Text as every editor might have written it: composed (NFC), with `\n` for every line break of Unicode.

    Byte order marks are dropped.
    """
    return _LINE_BREAK.sub("\n", unicodedata.normalize("NFC", text.replace("\ufeff", "")))


def clean_lyrics(text: str, alphabet: str) -> str:
    r"""Spells `text` in the characters of `alphabet`.

    Characters of the alphabet stay as they are, composed or not. Any other is transliterated to ASCII (`é` -> `e`, `—`
    -> `--`), every line break of Unicode and a backslash become a newline, and what is still outside the alphabet is
    dropped.
    """
    kept = _spellings(alphabet)
    return "".join(kept[char] if char in kept else _spelled(char, kept) for char in plain_text(text))


@lru_cache(maxsize=8)
def _spellings(alphabet: str) -> dict[str, str]:
    """Each character of an alphabet, also in its composed form, and how it is written there."""
    return {unicodedata.normalize("NFC", char): char for char in alphabet} | {char: char for char in alphabet}


def _spelled(char: str, kept: dict[str, str]) -> str:
    """A character outside the alphabet in characters of it."""
    parts = unicodedata.normalize("NFD", char)  # an alphabet may hold a letter and its accent one by one
    if all(part in kept for part in parts):
        return parts
    return "".join(kept.get(part, "") for part in unidecode(char).replace("\\", "\n"))


@dataclass(frozen=True)
class Lyrics:
    """Cleaned lyrics and, where the text carried times, when each of its lines begins.

    Attributes:
        text: The characters a prior may see, without time stamps.
        line_times: Seconds from the start of the song, ascending; empty where the text had no times.
        line_starts: The index in `text` of the first character of each timed line.
    """

    text: str
    line_times: tuple[float, ...] = ()
    line_starts: tuple[int, ...] = ()

    @classmethod
    def parse(cls, source: str, alphabet: str) -> Self:
        """Reads plain text or LRC (see [`timed_lines`]) and cleans it to `alphabet`."""
        lines = timed_lines(source)
        if not lines:
            return cls(clean_lyrics(source, alphabet))
        cleaned = [clean_lyrics(line + "\n", alphabet) for _, line in lines[:-1]]
        cleaned.append(clean_lyrics(lines[-1][1], alphabet))
        starts = accumulate((len(line) for line in cleaned[:-1]), initial=0)
        return cls("".join(cleaned), tuple(seconds for seconds, _ in lines), tuple(starts))

    def window(self, size: int, *, total_length: int, offset: int, window_length: int, sampling_rate: int) -> list[int]:
        """The indices of the `size` characters that stand for a window of audio; -1 is padding.

        Lyrics of at most `size` characters are taken whole and padded on the left. Else the `size` characters around
        the one that is sung in the middle of the window are taken, moved inward at both ends of the text.

        Args:
            size: Number of characters a window shows.
            total_length, offset, window_length: Of the song, of the window's start, and of the window, in raw samples.
            sampling_rate: Samples a second, which only lyrics with times need.
        """
        length = len(self.text)
        if length <= size:
            return [NO_CHARACTER] * (size - length) + list(range(length))
        if self.line_times:
            middle = self._character_at((offset + window_length / 2) / sampling_rate, total_length / sampling_rate)
        else:
            middle = length * (2 * offset + window_length) // (2 * total_length)
        start = min(max(middle - size // 2, 0), length - size)
        return list(range(start, start + size))

    def _character_at(self, seconds: float, total_seconds: float) -> int:
        """The character sung at a time: linear from one line's start to the next, the last line ending with the song.

        Before the first line it is the first line's first character.
        """
        times = (*self.line_times, max(total_seconds, self.line_times[-1]))
        return int(np.interp(seconds, times, (*self.line_starts, len(self.text))))


def timed_lines(source: str) -> list[tuple[float, str]]:
    """Reads LRC text: `(seconds, line)` in the order of time, or an empty list where `source` is not LRC.

    Text is LRC where at least half of its lines, blank ones and tags aside, begin with a time stamp `[mm:ss.xx]`
    (`[mm:ss]`, `[mm:ss,xx]` and `[hh:mm:ss.xx]` too, with any number of digits of a fraction); a verse headed
    "[Chorus]" or a single clock time does not make it so. A line with several stamps is sung at each of them. A line
    without a stamp continues the one before it, a stamp without a line ends it. `[offset:ms]` makes all lines that much
    earlier; other tags, such as `[ar:...]`, and the word stamps `<mm:ss.xx>` of enhanced LRC are left out.
    """
    shift = 0.0
    lines: list[tuple[list[float], str]] = []
    stamped = unstamped = 0
    for raw in plain_text(source).split("\n"):
        if tag := _TAG.fullmatch(raw):
            if tag[1].lower() == "offset" and _MILLISECONDS.fullmatch(tag[2]):
                shift = int(tag[2]) / 1000
        elif match := _STAMPED_LINE.fullmatch(raw):
            stamped += 1
            times = [_seconds(stamp) for stamp in _STAMP.finditer(match[1])]
            lines.append((times, _WORD_STAMP.sub("", match[2]).strip()))
        elif raw.strip():
            unstamped += 1
            times, before = lines.pop() if lines else ([0.0], "")
            lines.append((times, f"{before}\n{raw.strip()}".lstrip("\n")))
    if stamped == 0 or stamped < unstamped:
        return []
    timed = [(max(0.0, seconds - shift), line) for times, line in lines for seconds in times]
    return sorted(timed, key=lambda entry: entry[0])


def unread_stamp(source: str) -> str | None:
    """What looks like a time stamp in text that is not LRC: one where two lines, and a quarter of all, begin so."""
    lines = [line for line in plain_text(source).split("\n") if line.strip()]
    found = [match[1] for match in map(_LIKE_A_STAMP.match, lines) if match]
    return found[0] if len(found) > 1 and 4 * len(found) >= len(lines) else None


def _seconds(stamp: re.Match[str]) -> float:
    whole = 3600 * int(stamp["h"] or 0) + 60 * int(stamp["m"]) + int(stamp["s"])
    return whole + float(f"0.{stamp['f'] or 0}")
