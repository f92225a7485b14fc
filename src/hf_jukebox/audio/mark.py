"""The mark of audio that a machine has made, which every file of this library carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.numpy import save

MARK = "This audio was made by a machine: it was sampled by hf_jukebox."
_MOST_BYTES = 2**17  # at each end of a file, where its comments are


def marked() -> dict[str, str]:
    """Return the comment fields that hold the mark and nothing else."""
    return {"software": "hf_jukebox", "comment": json.dumps({"made_by": MARK})}


def mark_data() -> bytes:
    """Return the same fields as data of a wav file, which has them nowhere else."""
    return save({}, data_metadata(marked()))


def has_mark(path: Path) -> bool:
    """Return whether an audio file of any format carries the mark, also after other programs have converted it.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_MOST_BYTES)
        file.seek(max(path.stat().st_size - _MOST_BYTES, 0))
        return MARK.encode() in start or MARK.encode() in file.read()


def data_metadata(comments: Mapping[str, str], request: str | None = None) -> dict[str, str]:
    """Return the metadata of a file's data; one entry, since safetensors writes several in any order."""
    return {"song": json.dumps({"comments": dict(comments), "request": request}, ensure_ascii=False)}
