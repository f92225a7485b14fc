"""Everything that a user can cause, as one line on stderr and an exit status, for commands and scripts alike."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ..allocator import is_out_of_memory
from .lines import discard_output, is_first_process, write_error
from .quiet import hushed_libraries
from .signals import STATUS as INTERRUPTED
from .signals import end_is_near, set_last_words

WRONG_INPUT, READER_GONE = 2, 141  # the latter as of a program that SIGPIPE ends

_PACKAGE = __name__.partition(".")[0]
_AMOUNT = re.compile(r"(?:tried to allocate|unable to allocate|buffer size:?)\s+([\d.]+) ?([KMGTP]i?B|bytes|B)\b", re.I)


@contextmanager
def errors_as_one_line(
    program: str,
    *,
    last_words: Callable[[], str] | None = None,
    on_low_memory: str = "work on less at a time",
    in_words: Callable[[str], str] = str,
    quiet: bool = False,
    log_level: int = logging.WARNING,
    each_process: bool = False,
) -> Iterator[None]:
    """End the process on wrong input with one line on stderr and exit status 2, and on Ctrl-C with one line and 130.

    What this package warns of is a line as well, without the place in its source; other libraries are not heard.

    Args:
        program: Name of the command, before every line.
        last_words: Makes the line of an interrupted command, such as how to resume it.
        on_low_memory: What to do when memory runs out.
        in_words: Turns a message into the words of the command line.
        quiet: Leave out everything but errors.
        log_level: From which level on records of the package's log are written.
        each_process: Of several processes each has input of its own, and says what is wrong with it.

    Raises:
        SystemExit: always, in place of what a user may have caused.
    """

    def say(message: object) -> None:
        write_error(f"{program}: {in_words(' '.join(str(message).split()))}")

    def words() -> str:
        return last_words() if last_words is not None else f"{program}: stopped."

    set_last_words(words)
    try:
        with hushed_libraries(), _own_warnings(say, quiet), _own_log(say, logging.CRITICAL if quiet else log_level):
            yield
    except BrokenPipeError:
        discard_output()
        raise SystemExit(READER_GONE) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if each_process or is_first_process():  # mostly all processes meet what is wrong with the input
            say(error)
        raise SystemExit(WRONG_INPUT) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        say(_lack_of_memory(error, on_low_memory))  # each process has its own
        raise SystemExit(WRONG_INPUT) from error
    except KeyboardInterrupt:
        if is_first_process():
            write_error(words())
        end_is_near()
        raise SystemExit(INTERRUPTED) from None


def stop(program: str, message: str, hint: str) -> NoReturn:
    """End the process for a command that is not understood: with what is wrong, and where to read more."""
    if is_first_process():
        write_error(f"{program}: {' '.join(message.split())}")
        write_error(hint)
    raise SystemExit(WRONG_INPUT)


def _lack_of_memory(error: BaseException, advice: str) -> str:
    amount = _AMOUNT.search(str(error))
    asked = f" ({amount[1]} {amount[2]} more were needed)" if amount else ""
    return f"Memory has run out{asked}; {advice}."


@contextmanager
def _own_warnings(say: Callable[[object], None], quiet: bool) -> Iterator[None]:
    def show(message: Warning | str, *place: Any, **where: Any) -> None:
        if not quiet and is_first_process() and _warns_from_package():
            say(message)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _warns_from_package() -> bool:
    """Return whether the warning that is being shown was issued by this package, wherever it says that it is from."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "warnings", "_py_warnings"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


class _Lines(logging.Handler):
    """Log records as lines on stderr; what is no more than news is written as it is, by the first process."""

    def __init__(self, say: Callable[[object], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._say(record.getMessage())
        elif is_first_process():
            write_error(record.getMessage())


@contextmanager
def _own_log(say: Callable[[object], None], level: int) -> Iterator[None]:
    logger, handler = logging.getLogger(_PACKAGE), _Lines(say)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
