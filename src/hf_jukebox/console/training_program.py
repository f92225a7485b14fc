"""Start of the programs that train: signals, quiet libraries, and one line if the libraries of training are missing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import WRONG_INPUT
from .lines import is_first_process, write_error
from .quiet import hush_libraries
from .signals import handle_signals

_EXTRA = ("datasets", "peft", "tensorboard")  # what the extra `train` of setup.py installs


@contextmanager
def training_program(program: str | None = None) -> Iterator[None]:
    """Prepare a program for the imports within the context.

    Args:
        program: Name of the command, in front of every line; by default that of the process.

    Raises:
        SystemExit: a library of the extra `train` is not installed; one line says how to install it.
    """
    program = program or Path(sys.argv[0]).name
    handle_signals(program)
    hush_libraries()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python about the source of libraries, where it keeps no bytecode
            yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        if is_first_process():
            write_error(
                f"{program}: Training needs {error.name}, which is not installed; install it with: "
                'pip install "hf_jukebox[train]"'
            )
        raise SystemExit(WRONG_INPUT) from None
