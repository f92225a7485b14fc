"""Access to models given as a folder or a Hub repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from ..files.text import first_line
from .pipeline_folder import PathLike


def from_hub(repository: PathLike, patterns: list[str], options: Mapping[str, Any] | None = None) -> Path:
    """Download the files of a repository that match the patterns, and return their local folder.

    Args:
        options: Arguments of `snapshot_download`, such as `revision`.

    Raises:
        OSError: there is no such repository, or it cannot be reached.
    """
    try:
        return Path(snapshot_download(str(repository), allow_patterns=patterns, **options or {}))
    except (OSError, ValueError) as error:  # no such name, no such repository, no network
        raise OSError(
            f"{repository} is neither a folder nor a readable Hub repository ({first_line(error)})."
        ) from error


def public_name(source: PathLike) -> str:
    """Return the name of a repository; for a local folder, only its last component."""
    return Path(source).absolute().name if Path(source).is_dir() else str(source)
