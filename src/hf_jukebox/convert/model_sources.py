"""Access to models given as a folder or a Hub repository."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from ..files.text import first_line
from .pipeline_folder import PathLike


def from_hub(repository: PathLike, patterns: list[str]) -> Path:
    """Download the files of a repository that match the patterns, and return their local folder.

    Raises:
        OSError: there is no such repository, or it cannot be reached.
    """
    try:
        return Path(snapshot_download(str(repository), allow_patterns=patterns))
    except (OSError, ValueError) as error:  # no such name, no such repository, no network
        raise OSError(
            f"{repository} is neither a folder nor a readable Hub repository ({first_line(error)})."
        ) from error


def public_name(source: PathLike) -> str:
    """Return the name of a repository; for a local folder, only its last component."""
    return Path(source).absolute().name if Path(source).is_dir() else str(source)
