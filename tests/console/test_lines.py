"""Lines on streams that were closed before the process began."""

import sys

import pytest

from hf_jukebox.cli.listening import check_listening
from hf_jukebox.cli.options import ListenOptions
from hf_jukebox.cli.progress import ProgressStyle
from hf_jukebox.console.lines import discard_output, write_error, write_line


def test_a_closed_stream_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    write_line("a result")
    write_error("an error")
    discard_output()


def test_audio_for_a_closed_stdout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="pipe it into a player"):
        check_listening(ListenOptions(stream="-"), ProgressStyle.BAR)
