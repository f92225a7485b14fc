"""Handling of Ctrl-C, SIGTERM and a closed terminal: all end a command alike, after its state is saved."""

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
    """The state of the running command.

    Attributes:
        program: Name of the command, for messages.
        process: Id of the process that handles signals; forked processes use the default handling.
        has_work: True while there is state to save before the process may end.
        last_words: Returns the line that is printed when the command is interrupted.
    """

    program: str = "hf-jukebox"
    process: int = 0
    has_work: bool = False
    last_words: Callable[[], str] | None = None


_state = _State()


def handle_signals(program: str) -> None:
    """Install one handler for SIGINT, SIGTERM and SIGHUP, except those ignored from the start (nohup, `&`)."""
    if threading.current_thread() is not threading.main_thread():
        return
    _state.__init__(program, os.getpid())  # type: ignore[misc]
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def set_last_words(make: Callable[[], str]) -> None:
    """Set the function that returns the line printed when the command is interrupted."""
    _state.last_words = make


@contextmanager
def work_to_keep() -> Iterator[None]:
    """Let the first interrupt within the context raise KeyboardInterrupt; outside of it, interrupts exit at once."""
    _state.has_work = True
    try:
        yield
    finally:
        if not _is_interrupted():
            _state.has_work = False


def ignore_further_signals() -> None:
    """Ignore signals from here on: all state is saved, and the process is about to exit."""
    if os.getpid() == _state.process:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # Python would restore the default, which kills, during exit


def _on_signal(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.process:
        _in_child(number)
    elif not _state.has_work:
        # Without an exception: an import in progress may catch it, or fail with pages of traceback.
        _write(_state.last_words() if _state.last_words is not None else f"{_state.program}: stopped.")
        os._exit(STATUS)
    elif _is_interrupted():
        _write(f"{_state.program}: already stopping; saving what is finished.")
    else:
        raise KeyboardInterrupt


def _in_child(number: int) -> None:
    """Apply the default handling in a forked process, such as a data loader's worker."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _is_interrupted() -> bool:
    """Return whether a KeyboardInterrupt is being handled, even if other errors were raised since."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _write(line: str) -> None:
    """Write to stderr from a signal handler, bypassing Python's streams, which may be in the middle of a line."""
    if not is_first_process():
        return
    data = os.fsencode(line) + b"\n"
    with suppress(OSError):  # the terminal may be gone
        # Clear the status line that may be shown, and show the cursor that it hides.
        os.write(2, _CLEAR_LINE + _SHOW_CURSOR + data if os.isatty(2) else data)
