"""Models that are given as a folder or as a Hub repository."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from .pipeline_folder import PathLike


def from_hub(repository: PathLike, patterns: list[str]) -> Path:
    """A local copy of the files of a repository that match the patterns.

    Raises:
        OSError: there is no such repository, or it cannot be reached.
    """
    try:
        return Path(snapshot_download(str(repository), allow_patterns=patterns))
    except (OSError, ValueError) as error:  # no such name, no such repository, no network
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise OSError(f"{repository} is neither a folder nor a Hub repository that can be read ({reason}).") from error


def public_name(source: PathLike) -> str:
    """The name of a repository; of a folder its last part, for the rest tells only where it lay."""
    return Path(source).absolute().name if Path(source).is_dir() else str(source)
