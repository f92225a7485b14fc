"""Lines on stdout and stderr: whole, as they are, whatever a file is called and whoever reads them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def is_first_process() -> bool:
    """Return whether this process speaks; launchers give each of several that work together its number."""
    return int(os.environ.get("RANK", "0")) == 0


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Write a line at once, unbroken, to stdout by default.

    The bytes of a file name that are no text in the stream's encoding come out as they are in the name.
    """
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        _write_bytes(text, encoding, stream)
    else:
        print(text, file=stream, flush=True)


def write_error(text: str) -> None:
    """Write a line to stderr; where nobody can read it any more, as when the terminal is closed, go on without."""
    with suppress(OSError):
        write_line(text, sys.stderr)


def discard_output() -> None:
    """Send what is still to be written to nowhere, once the reader of the output has gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream without a descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _write_bytes(text: str, encoding: str, stream: TextIO) -> None:
    try:
        line = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:  # letters that the encoding lacks
        line = text.encode(encoding, "backslashreplace")
    stream.flush()
    stream.buffer.write(line + os.linesep.encode(encoding))
    stream.buffer.flush()
