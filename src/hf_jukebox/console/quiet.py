"""Suppression of the log lines, advice and progress bars of other libraries in commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Read when a library is imported. Values that the user has set are kept.
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
def quiet_libraries() -> Iterator[None]:
    """Limit the logs of other libraries to errors within the context, including libraries imported later."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    hush_libraries()
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def hush_libraries() -> None:
    """Limit the libraries' logs to errors and disable their progress bars; imports reset levels, so repeat it."""
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
        if module is not None and hasattr(module, function):  # it may be partially imported
            getattr(module, function)()
