"""User errors as one line on stderr and an exit status, for commands and scripts alike."""

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
from .quiet import quiet_libraries
from .signals import STATUS as INTERRUPTED
from .signals import ignore_further_signals, set_last_words

WRONG_INPUT, READER_GONE = 2, 141  # the latter is the status of a program ended by SIGPIPE

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

    Warnings of this package are also printed as one line, without their place in the source; warnings of other
    libraries are suppressed.

    Args:
        program: Name of the command, in front of every line.
        last_words: Returns the line for an interrupted command, such as how to resume it.
        on_low_memory: Advice for when memory runs out.
        in_words: Translates a message into the terms of the command line.
        quiet: Print errors only.
        log_level: Level from which on records of the package's log are printed.
        each_process: Print the errors of every process, for processes with input of their own.

    Raises:
        SystemExit: in place of every error that a user may have caused.
    """

    def report(message: object) -> None:
        write_error(f"{program}: {in_words(' '.join(str(message).split()))}")

    def words() -> str:
        return last_words() if last_words is not None else f"{program}: stopped."

    set_last_words(words)
    try:
        level = logging.CRITICAL if quiet else log_level
        with quiet_libraries(), _own_warnings(report, quiet), _own_log(report, level):
            yield
    except BrokenPipeError:
        discard_output()
        raise SystemExit(READER_GONE) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if each_process or is_first_process():  # input errors usually occur on every process
            report(error)
        raise SystemExit(WRONG_INPUT) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        report(_out_of_memory(error, on_low_memory))  # may occur on one process only
        raise SystemExit(WRONG_INPUT) from error
    except KeyboardInterrupt:
        if is_first_process():
            write_error(words())
        ignore_further_signals()
        raise SystemExit(INTERRUPTED) from None


def stop(program: str, message: str, hint: str) -> NoReturn:
    """Exit with status 2 after two lines on stderr: the error in the command, and a hint where to read more."""
    if is_first_process():
        write_error(f"{program}: {' '.join(message.split())}")
        write_error(hint)
    raise SystemExit(WRONG_INPUT)


def _out_of_memory(error: BaseException, advice: str) -> str:
    amount = _AMOUNT.search(str(error))
    needed = f" ({amount[1]} {amount[2]} more were needed)" if amount else ""
    return f"Memory has run out{needed}; {advice}."


@contextmanager
def _own_warnings(report: Callable[[object], None], quiet: bool) -> Iterator[None]:
    def show(message: Warning | str, *place: Any, **where: Any) -> None:
        if not quiet and is_first_process() and _warns_from_package():
            report(message)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _warns_from_package() -> bool:
    """Return whether the warning being shown was issued by this package, whatever its stacklevel points to."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "warnings", "_py_warnings"):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE


class _Lines(logging.Handler):
    """Handler that prints log records as lines on stderr; records below WARNING only on the first process."""

    def __init__(self, report: Callable[[object], None]) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._report(record.getMessage())
        elif is_first_process():
            write_error(record.getMessage())


@contextmanager
def _own_log(report: Callable[[object], None], level: int) -> Iterator[None]:
    logger, handler = logging.getLogger(_PACKAGE), _Lines(report)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
