"""JSON files from strangers: read in bounded memory, and refused in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MOST_BYTES = 2**25  # a million names take about as much; a value may take thirty times its bytes in memory


def read_json(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file is missing, is no regular file or cannot be read.
        ValueError: it is larger than `most_bytes`, no UTF-8, no JSON, or nested too deeply.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    size = path.stat().st_size
    if size > most_bytes:
        raise ValueError(f"{path} takes {size} bytes, but at most {most_bytes} are read; it is not one of our files.")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be one of our files.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {str(error).rstrip('.')}.") from error


def read_json_object(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        OSError, ValueError: see [`read_json`], or it holds something else.
    """
    content = read_json(path, most_bytes)
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a JSON object with settings, not a {type(content).__name__}.")
    return content
