"""Other libraries, kept from writing to the terminal of a command: their log lines, advice and progress bars."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Read when a library is imported. What a user has set is left as it is.
_ENVIRONMENT = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TORCH_LOGS": "-all",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_LOGGERS = (
    "accelerate",
    "datasets",
    "diffusers",
    "fsspec",
    "httpcore",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "peft",
    "torch",
    "torchao",
    "transformers",
    "urllib3",
)


@contextmanager
def hushed_libraries() -> Iterator[None]:
    """Let the libraries say nothing but errors, those that are imported already and those that will be."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    hush_libraries()
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def hush_libraries() -> None:
    """Set the libraries' levels and take their progress bars away; again after imports, which set levels anew."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, function in (
        ("diffusers.utils.logging", "disable_progress_bar"),
        ("transformers.utils.logging", "disable_progress_bar"),
        ("huggingface_hub.utils", "disable_progress_bars"),
    ):
        module = sys.modules.get(name)
        if module is not None and hasattr(module, function):  # it may be in the middle of its own import
            getattr(module, function)()
