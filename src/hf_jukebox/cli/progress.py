"""The progress of a run: bars on a terminal, lines in a log file, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..console.lines import write_error, write_line

if TYPE_CHECKING:
    from rich.console import Console

    from ..sampler import SamplingProgress

_SECONDS_BETWEEN_OBJECTS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds between two lines of a log file; each pause doubles the one before


class ProgressStyle(StrEnum):
    """Style of the progress display."""

    BAR = "bar"
    JSON = "json"
    NONE = "none"


@contextmanager
def show_progress(style: ProgressStyle, errors: Console) -> Iterator[Callable[[SamplingProgress], None]]:
    """Yield a callback for the pipeline that shows the progress of each level.

    Args:
        style: JSON goes to stdout; bars to stderr, or plain lines if stderr is not a terminal.
        errors: Console of stderr.
    """
    if style is ProgressStyle.NONE:
        yield lambda progress: None
    elif style is ProgressStyle.JSON:
        yield _JsonLines()
    elif not errors.is_terminal:
        yield _LogLines()
    else:
        bar = BarColumn(bar_width=_bar_width(errors.width))
        columns = [TextColumn("{task.description}"), bar, TextColumn("{task.fields[figures]}")]
        with Progress(*columns, console=errors, refresh_per_second=4) as bars:
            yield _Bars(bars)


@contextmanager
def show_recordings(style: ProgressStyle, errors: Console, total: int | None) -> Iterator[Callable[[str, bool], None]]:
    """Yield a callback that shows how many recordings are done, of `total` if that is known; see `show_progress`."""
    done, pauses = 0, _Pauses()
    bars: Progress | None = None
    if style is ProgressStyle.BAR and errors.is_terminal:
        columns = [TextColumn("{task.completed} of {task.total}"), BarColumn(), TimeRemainingColumn()]
        bars = Progress(*columns, TextColumn("{task.fields[name]}"), console=errors, refresh_per_second=4)
        bar = bars.add_task("", total=total, name="")

    def show(name: str, is_done: bool) -> None:
        nonlocal done
        done += 1
        if style is ProgressStyle.JSON:
            write_line(json.dumps({"recording": name, "embedded": is_done, "done": done, "total": total}))
        elif bars is not None:
            bars.update(bar, completed=done, name=name)
        elif style is ProgressStyle.BAR and pauses.end(done == total):
            write_error(f"{done} recordings done{'' if total is None else f' of {total}'}")

    with nullcontext() if bars is None else bars:
        yield show


@dataclass
class _Speed:
    """Codes per second at a level, measured from its first code on."""

    level: int = -1
    first: int = 0
    since: float = 0.0

    def update(self, progress: SamplingProgress) -> float:
        now = time.monotonic()
        if progress.level != self.level:
            # The first code of a level includes the prefill, so it does not count towards the speed.
            self.level, self.first, self.since = progress.level, progress.sampled, now
        return (progress.sampled - self.first) / (now - self.since) if progress.sampled > self.first else 0.0


@dataclass
class _JsonLines:
    """JSON objects, one per line, about once per second and at the end of a level."""

    speed: _Speed = field(default_factory=_Speed)
    last: float = 0.0

    def __call__(self, progress: SamplingProgress) -> None:
        speed, now = self.speed.update(progress), time.monotonic()
        if now - self.last < _SECONDS_BETWEEN_OBJECTS and progress.filled < progress.length:
            return
        self.last = now
        line = {
            "level": progress.level,
            "songs": [progress.songs.start, progress.songs.stop - 1],
            "seconds_done": round(progress.filled / progress.codes_per_second, 3),
            "seconds_total": round(progress.length / progress.codes_per_second, 3),
            "codes_per_second": round(speed, 1),
            "music_per_second": round(speed / progress.codes_per_second, 4),
            "level_seconds_left": _seconds_left(progress.level_to_sample - progress.level_sampled, speed),
            "run_seconds_left": _seconds_left(progress.to_sample - progress.sampled, speed),
        }
        write_line(json.dumps(line))


class _Pauses:
    """Pauses between the lines of a log file, each twice as long as the one before."""

    def __init__(self) -> None:
        self._last, self._pause = time.monotonic(), FIRST_PAUSE

    def end(self, at_once: bool) -> bool:
        """Return whether the pause is over, or is to end at once; the next one begins then."""
        now = time.monotonic()
        if not at_once and now - self._last < self._pause:
            return False
        self._last, self._pause = now, min(2 * self._pause, LONGEST_PAUSE)
        return True


@dataclass
class _LogLines:
    """Plain lines for a log file: less and less often during a level, and at its end."""

    speed: _Speed = field(default_factory=_Speed)
    level: int = -1
    pauses: _Pauses = field(default_factory=_Pauses)

    def __call__(self, progress: SamplingProgress) -> None:
        speed = self.speed.update(progress)
        if progress.level != self.level:
            self.level, self.pauses = progress.level, _Pauses()
        if self.pauses.end(progress.level_sampled >= progress.level_to_sample):
            write_error(f"level {progress.level}: {_figures(progress, speed)}")


@dataclass
class _Bars:
    """One bar per level; the remaining time assumes that all levels are as fast as the current one."""

    bars: Progress
    speed: _Speed = field(default_factory=_Speed)
    tasks: dict[int, TaskID] = field(default_factory=dict)

    def __call__(self, progress: SamplingProgress) -> None:
        speed = self.speed.update(progress)
        if progress.level not in self.tasks:
            name = f"level {progress.level}"
            self.tasks[progress.level] = self.bars.add_task(name, total=progress.level_to_sample, figures="")
        width = self.bars.console.width
        taken = len(f"level {progress.level}") + _bar_width(width) + 2  # with the gaps
        figures = _figures(progress, speed, width - taken)
        self.bars.update(self.tasks[progress.level], completed=progress.level_sampled, figures=figures)


def _bar_width(width: int) -> int:
    """Return the width of a bar, which leaves room for the figures beside it."""
    return min(40, max(5, width // 4 - 5))


def _figures(progress: SamplingProgress, speed: float, width: int | None = None) -> str:
    """Return the figures of a level; with a width, those that fit, the time left longest of all."""
    done, total = (codes / progress.codes_per_second for codes in (progress.filled, progress.length))
    left = _clock(_seconds_left(progress.level_to_sample - progress.level_sampled, speed))
    whole = _clock(_seconds_left(progress.to_sample - progress.sampled, speed))
    music = speed / progress.codes_per_second
    figures = {
        "length": f"{done:.1f} of {total:.1f} s",
        "songs": _songs(progress),
        "speed": f"{music:.3g} s per second",
        "left": f"{left} left",
        "whole": f"{whole} for all levels",
    }
    for name in ("whole", "speed", "songs", "length"):
        text = ", ".join(filter(None, figures.values()))
        if width is None or len(text) <= width:
            return text
        del figures[name]
    return figures["left"]


def _songs(progress: SamplingProgress) -> str:
    """Return the songs in progress, if the run has several."""
    first, last = progress.songs.start, progress.songs.stop - 1
    if first < last:
        return f"songs {first}-{last}"
    return f"song {first}" if first or progress.level_to_sample > progress.length else ""


def _seconds_left(codes: int, speed: float) -> float | None:
    return round(codes / speed, 1) if speed else None


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
