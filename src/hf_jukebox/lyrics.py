"""Lyrics as a prior reads them: cleaned to its alphabet, with or without times, and cut to a window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
from unidecode import unidecode

NO_CHARACTER = -1  # in a lyric slot that is padding

_CLOCK = r"(\d{1,3}):([0-5]?\d)(?:[.:](\d{1,3}))?"
_STAMP = re.compile(rf"\[{_CLOCK}\]")
_STAMPED_LINE = re.compile(rf"\s*((?:\[{_CLOCK}\]\s*)+)(.*)")
_WORD_STAMP = re.compile(rf"<{_CLOCK}>\s*")
_TAG = re.compile(r"\s*\[(ar|al|ti|au|lr|by|re|ve|la|id|tool|length|offset)\s*:\s*(.*?)\s*\]\s*", re.IGNORECASE)
_MILLISECONDS = re.compile(r"[+-]?\d+")


def clean_lyrics(text: str, alphabet: str) -> str:
    r"""Spells `text` in the characters of `alphabet`.

    Characters of the alphabet stay as they are. Any other is transliterated to ASCII (`é` -> `e`, `—` -> `--`), a
    backslash becomes a newline, and what is still outside the alphabet is dropped.
    """
    kept = set(alphabet)
    spelled = (char if char in kept else unidecode(char).replace("\\", "\n") for char in text)
    return "".join(char for part in spelled for char in part if char in kept)


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
    (`[mm:ss]` and milliseconds too); a verse headed "[Chorus]" or a single clock time does not make it so. A line with
    several stamps is sung at each of them. A line without a stamp continues the one before it, a stamp without a line
    ends it. `[offset:ms]` makes all lines that much earlier; other tags, such as `[ar:...]`, and the word stamps
    `<mm:ss.xx>` of enhanced LRC are left out.
    """
    shift = 0.0
    lines: list[tuple[list[float], str]] = []
    stamped = unstamped = 0
    for raw in source.splitlines():
        if tag := _TAG.fullmatch(raw):
            if tag[1].lower() == "offset" and _MILLISECONDS.fullmatch(tag[2]):
                shift = int(tag[2]) / 1000
        elif match := _STAMPED_LINE.fullmatch(raw):
            stamped += 1
            times = [_seconds(*stamp.groups()) for stamp in _STAMP.finditer(match[1])]
            lines.append((times, _WORD_STAMP.sub("", match[5]).strip()))
        elif raw.strip():
            unstamped += 1
            times, before = lines.pop() if lines else ([0.0], "")
            lines.append((times, f"{before}\n{raw.strip()}".lstrip("\n")))
    if stamped == 0 or stamped < unstamped:
        return []
    timed = [(max(0.0, seconds - shift), line) for times, line in lines for seconds in times]
    return sorted(timed, key=lambda entry: entry[0])


def _seconds(minutes: str, seconds: str, fraction: str | None) -> float:
    return 60 * int(minutes) + int(seconds) + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
