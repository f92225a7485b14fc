"""Lyrics, with or without times: cleaning to a prior's alphabet, and the characters of a window."""

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
    r"""Return text with composed characters (NFC), `\n` for every line break of Unicode, and no byte order marks."""
    return _LINE_BREAK.sub("\n", unicodedata.normalize("NFC", text.replace("\ufeff", "")))


def clean_lyrics(text: str, alphabet: str) -> str:
    r"""Spell `text` in the characters of `alphabet`.

    Characters of the alphabet stay as they are, composed or not. Any other is transliterated to ASCII (`é` -> `e`, `—`
    -> `--`), every line break of Unicode and a backslash become a newline, and characters that are still outside the
    alphabet are dropped.
    """
    kept = _spellings(alphabet)
    return "".join(kept[char] if char in kept else _spelled(char, kept) for char in plain_text(text))


@lru_cache(maxsize=8)
def _spellings(alphabet: str) -> dict[str, str]:
    """Return the spelling in an alphabet of each of its characters, also in composed form."""
    return {unicodedata.normalize("NFC", char): char for char in alphabet} | {char: char for char in alphabet}


def _spelled(char: str, kept: dict[str, str]) -> str:
    """Spell a character outside the alphabet in characters of it."""
    parts = unicodedata.normalize("NFD", char)  # an alphabet may hold a letter and its accent one by one
    if all(part in kept for part in parts):
        return parts
    return "".join(kept.get(part, "") for part in unidecode(char).replace("\\", "\n"))


@dataclass(frozen=True)
class Lyrics:
    """Cleaned lyrics and, if the text has times, the start of each of its lines.

    Attributes:
        text: Characters of the alphabet, without time stamps.
        line_times: Seconds from the start of the song, ascending; empty for text without times.
        line_starts: Index in `text` of the first character of each timed line.
    """

    text: str
    line_times: tuple[float, ...] = ()
    line_starts: tuple[int, ...] = ()

    @classmethod
    def parse(cls, source: str, alphabet: str) -> Self:
        """Parse plain text or LRC (see [`timed_lines`]) and clean it to `alphabet`."""
        lines = timed_lines(source)
        if not lines:
            return cls(clean_lyrics(source, alphabet))
        cleaned = [clean_lyrics(line + "\n", alphabet) for _, line in lines[:-1]]
        cleaned.append(clean_lyrics(lines[-1][1], alphabet))
        starts = accumulate((len(line) for line in cleaned[:-1]), initial=0)
        return cls("".join(cleaned), tuple(seconds for seconds, _ in lines), tuple(starts))

    def window(self, size: int, *, total_length: int, offset: int, window_length: int, sampling_rate: int) -> list[int]:
        """Return the indices of the `size` characters for a window of audio; -1 is padding.

        Lyrics of at most `size` characters are used whole and padded on the left. Otherwise it is the `size` characters
        around the one that is sung in the middle of the window, moved inward at both ends of the text.

        Args:
            size: Number of characters per window.
            total_length, offset, window_length: Length of the song, start and length of the window, in raw samples.
            sampling_rate: Samples per second; used only for lyrics with times.
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
        """Return the index of the character sung at a time.

        It is linear from one line's start to the next; the last line ends with the song. Before the first line it is
        the first character.
        """
        times = (*self.line_times, max(total_seconds, self.line_times[-1]))
        return int(np.interp(seconds, times, (*self.line_starts, len(self.text))))


def timed_lines(source: str) -> list[tuple[float, str]]:
    """Parse LRC text: return `(seconds, line)` in the order of time, or an empty list if `source` is not LRC.

    Text is LRC if at least half of its lines, except blank lines and tags, begin with a time stamp `[mm:ss.xx]` (or
    `[mm:ss]`, `[mm:ss,xx]`, `[hh:mm:ss.xx]`, with any number of digits in the fraction); headings such as "[Chorus]"
    and single clock times are not enough. A line with several stamps is sung at each of them. A line without a stamp
    continues the one before it; a stamp without a line ends it. `[offset:ms]` makes all lines that much earlier; other
    tags, such as `[ar:...]`, and the word stamps `<mm:ss.xx>` of enhanced LRC are removed.
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
    """Return the first apparent time stamp of text that is not LRC, if at least two lines and a quarter begin so."""
    lines = [line for line in plain_text(source).split("\n") if line.strip()]
    found = [match[1] for match in map(_LIKE_A_STAMP.match, lines) if match]
    return found[0] if len(found) > 1 and 4 * len(found) >= len(lines) else None


def _seconds(stamp: re.Match[str]) -> float:
    whole = 3600 * int(stamp["h"] or 0) + 60 * int(stamp["m"]) + int(stamp["s"])
    return whole + float(f"0.{stamp['f'] or 0}")
