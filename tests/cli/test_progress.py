"""Progress on narrow terminals, in log files, and of several songs."""

import io
import re

import pytest
from rich.console import Console

from hf_jukebox.cli.progress import ProgressStyle, _figures, show_progress
from hf_jukebox.cli.terminal import error_console
from hf_jukebox.sampler import SamplingProgress


def progress(sampled: int, songs: range = range(1), level_to_sample: int = 7000) -> SamplingProgress:
    return SamplingProgress(2, songs, sampled, 7000, 344.5, sampled, level_to_sample, sampled, 100_000)


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_level_and_the_time_left_are_always_shown(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with show_progress(ProgressStyle.BAR, console) as show:
        for sampled in (1, 2, 4000):
            show(progress(sampled, range(4)))
    text = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", out.getvalue())
    last = re.split(r"[\r\n]+", text.strip())[-1]
    assert "level 2 " in last and " left" in last and "\u2026" not in last
    assert ("for all levels" in last) == (width >= 120)


def test_the_song_of_a_run_of_several_is_named() -> None:
    assert "song" not in _figures(progress(5), 1.0)
    assert ", song 0, " in _figures(progress(5, level_to_sample=14_000), 1.0)
    assert ", song 1, " in _figures(progress(5, range(1, 2)), 1.0)
    assert ", songs 0-3, " in _figures(progress(5, range(4)), 1.0)


def test_a_log_file_is_no_terminal_even_with_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert not error_console().is_terminal
