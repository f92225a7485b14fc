"""Lines on stdout and stderr, with file names in any encoding, and streams that may be closed."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def is_first_process() -> bool:
    """Return whether this is the first of several processes, by the rank that a launcher sets."""
    return int(os.environ.get("RANK", "0")) == 0


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream of the process is a terminal; one that was closed, None, is not."""
    return stream is not None and stream.isatty()


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Write a line without wrapping it, and flush it; to stdout by default. A stream that was closed gets nothing.

    Bytes of a file name that cannot be decoded in the stream's encoding are written unchanged.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:  # the process was started with a closed descriptor
        return
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        _write_bytes(text, encoding, stream)
    else:
        print(text, file=stream, flush=True)


def write_error(text: str) -> None:
    """Write a line to stderr; do nothing if it is closed, as after its terminal was."""
    if sys.stderr is None:
        return
    with suppress(OSError):
        write_line(text, sys.stderr)


def discard_output() -> None:
    """Redirect pending output to the null device, once its reader has closed the pipe."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a stream without a descriptor, or none
            null_device = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null_device, stream.fileno())
            os.close(null_device)


def _write_bytes(text: str, encoding: str, stream: TextIO) -> None:
    try:
        line = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:  # characters that the encoding lacks
        line = text.encode(encoding, "backslashreplace")
    stream.flush()
    stream.buffer.write(line + os.linesep.encode(encoding))
    stream.buffer.flush()
