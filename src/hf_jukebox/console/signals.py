"""The end of a command by Ctrl-C, by a polite kill and by a terminal that is closed: all alike, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from .lines import is_first_process

STATUS = 130
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_CLEAR_LINE, _SHOW_CURSOR = b"\r\x1b[2K", b"\x1b[?25h"


@dataclass
class _State:
    """How far a command is.

    Attributes:
        program: Its name, for messages.
        process: The process that handles signals; those that it forks end as usual.
        has_work: There is work that has to be put away before the process may end.
        last_words: Makes the line with which the command ends.
    """

    program: str = "hf-jukebox"
    process: int = 0
    has_work: bool = False
    last_words: Callable[[], str] | None = None


_state = _State()


def handle_signals(program: str) -> None:
    """Treat the signals that ask a process to end alike, but for those that it was started to ignore (nohup, `&`)."""
    if threading.current_thread() is not threading.main_thread():
        return
    _state.__init__(program, os.getpid())  # type: ignore[misc]
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def set_last_words(make: Callable[[], str]) -> None:
    """Set what makes the line with which an interrupted command ends."""
    _state.last_words = make


@contextmanager
def work_to_keep() -> Iterator[None]:
    """Work within which an interrupt raises KeyboardInterrupt, a single time; outside it ends the process at once."""
    _state.has_work = True
    try:
        yield
    finally:
        if not _is_interrupted():
            _state.has_work = False


def end_is_near() -> None:
    """Note that all is put away and said: from here on signals are ignored, since the process ends by itself."""
    if os.getpid() == _state.process:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # Python would restore what kills the process while it ends


def _on_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.process:
        _in_child(number)
    elif not _state.has_work:
        # Not by an exception: what imports libraries may catch it, or die of it with pages of traceback.
        _write(_state.last_words() if _state.last_words is not None else f"{_state.program}: stopped.")
        os._exit(STATUS)
    elif _is_interrupted():
        _write(f"{_state.program}: stopping already; what there is is being saved.")
    else:
        raise KeyboardInterrupt


def _in_child(number: int) -> None:
    """End a process that was forked, such as one that reads data ahead, as it would without us."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _is_interrupted() -> bool:
    """Return whether a KeyboardInterrupt is on its way up, whatever else has gone wrong since."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _write(line: str) -> None:
    """Write to stderr from within a signal handler, past Python's streams, which may be in the middle of a line."""
    if not is_first_process():
        return
    data = os.fsencode(line) + b"\n"
    with suppress(OSError):  # the terminal may be gone
        # The line of a status that is being shown gives way, and the cursor that it hides comes back.
        os.write(2, _CLEAR_LINE + _SHOW_CURSOR + data if os.isatty(2) else data)
