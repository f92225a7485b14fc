"""Several songs in one file, to sample as one batch."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.text import listed, read_text, user_path
from ..files.yaml_files import read_yaml
from .names import check_new_song_folder

if TYPE_CHECKING:
    import torch

_NOT_IN_FOLDER_NAMES = re.compile(r"[^\w.-]+")
_LONGEST_FOLDER_NAME = 60  # characters; a file system has room for 255 bytes
_MOST_SONGS = 1000
_MOST_VALUES = _MOST_SONGS * 40  # in a YAML file: names and values of all fields of all songs, with a margin
_LONGEST = 24 * 3600  # seconds
_SEEDS = 2**64  # the seeds that a torch.Generator takes


@dataclass(frozen=True)
class SongRequest:
    """One song of a batch.

    Args:
        name: Folder of the song, within that of the batch.
        artist, genre, lyrics: Labels, unknown by default.
        prompt: Recording to continue; a song without one is made up.
        prompt_seconds: Length of the start of the prompt to use.
        seed: Seed that makes the song repeatable. Its random numbers do not depend on the rest of the batch. Beside a
            longer song the last window of a level is another one, so that the last codes may differ.
        seconds: Length of the result, prompt included; one window of the top prior by default.
        total_seconds: Length of the song of which this is a part; by default the song ends with this part.
        offset_seconds: Start of the piece in its song.
        title: Title to show; `name` by default.

    Raises:
        ValueError: the name cannot be a folder, or a number is out of range.
    """

    name: str
    artist: str | None = None
    genre: str | None = None
    lyrics: str | None = None
    prompt: str | None = None
    prompt_seconds: float | None = None
    seed: int | None = None
    seconds: float | None = None
    total_seconds: float | None = None
    offset_seconds: float = 0.0
    title: str | None = None

    def __post_init__(self) -> None:
        """Check everything that would otherwise fail, or leave the folder of the batch, only after sampling."""
        check_new_song_folder(self.name)
        if not _is_folder_name(self.name):
            raise ValueError(f"name must be letters, digits, '-', '_' and '.', as of a folder, not {self.name!r:.80}.")
        for name in ("prompt_seconds", "seconds", "total_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _LONGEST:
                raise ValueError(f"{name} must be above 0 and at most {_LONGEST}, not {value}.")
        if not 0 <= self.offset_seconds <= _LONGEST:
            raise ValueError(f"offset_seconds must be between 0 and {_LONGEST}, not {self.offset_seconds}.")
        if self.seed is not None and not 0 <= self.seed < _SEEDS:
            raise ValueError(f"seed must be between 0 and {_SEEDS - 1}, not {self.seed}.")

    def generator(self) -> torch.Generator:
        """Return a generator for the seed; a random one without a seed."""
        import torch  # imported late, so that a file of songs is checked at once

        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        return generator if self.seed is None else generator.manual_seed(self.seed)


def folder_name(title: str) -> str:
    """Return a folder name for a title: "My Song!" becomes "My-Song"; empty if no letters or digits are left."""
    name = _NOT_IN_FOLDER_NAMES.sub("-", title).strip("-.")[:_LONGEST_FOLDER_NAME].strip("-.")
    return name if any(character.isalnum() for character in name) else ""


def read_songs(path: str | os.PathLike[str]) -> list[SongRequest]:
    """Read the songs of a .yaml file (a list) or a .jsonl file (one object per line).

    Prompts are relative to the file. A song without a `name` is named by its number, from `song-1` on. A name that
    cannot be a folder is kept as the title.
    Artists, genres and names may be written without quotes in YAML: `808` and `Yes` are names.

    Raises:
        OSError: the file cannot be read.
        ValueError: a song is wrong, and the message names it and the field, or there are more than 1000.
    """
    path = user_path(path)
    entries = _entries(path)
    if not entries:
        raise ValueError(f"{path} holds no songs; give a list with one entry per song.")
    if len(entries) > _MOST_SONGS:
        raise ValueError(f"{path} holds {len(entries)} songs; give at most {_MOST_SONGS} at a time.")
    songs = [_song(entry, number, path) for number, entry in enumerate(entries, start=1)]
    check_names(songs, str(path))
    return songs


def check_names(songs: Sequence[SongRequest], what: str) -> None:
    """Check that songs, of which there must be one at least, have different names.

    Args:
        what: Name of the songs in messages.

    Raises:
        ValueError: there is none, or two would have the same folder.
    """
    if not songs:
        raise ValueError(f"{what} holds no songs; give at least one.")
    counts = Counter(song.name.casefold() for song in songs)  # on many systems folder names ignore case
    twice = dict.fromkeys(song.name for song in songs if counts[song.name.casefold()] > 1)
    if twice:
        raise ValueError(f"{what}: {listed(twice)} is the name of more than one song; names are folders.")


def _entries(path: Path) -> Sequence[Any]:
    if path.suffix.lower() == ".jsonl":
        lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
        # For more than are allowed only their number is needed.
        return lines if len(lines) > _MOST_SONGS else [_json_line(line, number, path) for number, line in lines]
    if path.suffix.lower() in (".yaml", ".yml"):
        entries = read_yaml(path, _MOST_VALUES)
        if not isinstance(entries, list | None):
            raise ValueError(f"{path} holds no songs: each must be an entry of one list, such as '- name: first'.")
        return entries or []
    raise ValueError(f"{path} must end in .yaml or .jsonl.")


def _json_line(line: str, number: int, path: Path) -> Any:
    try:
        return json.loads(line, parse_int=str, parse_float=str, parse_constant=str)  # `808` may be a name
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number} cannot be read as JSON: {error}.") from error


def _song(entry: Any, number: int, path: Path) -> SongRequest:
    where = f"{path}, song {number}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected fields such as artist and genre, not {entry!r:.80}.")
    types = {field.name: str(field.type) for field in fields(SongRequest)}
    given: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in types:
            raise ValueError(f"{where}: there is no field {name!r}; there are {', '.join(types)}.")
        if value is None:
            continue
        if not isinstance(value, str):
            raise ValueError(f"{where}: {name} must be text or a number, not {value!r:.80}.")
        if not types[name].startswith("str"):
            given[name] = _number(value, types[name].startswith("int"), f"{where}: {name}")
        elif value.strip():
            given[name] = value
    if "name" in given and not _is_folder_name(given["name"]):
        given = {"title": given["name"].strip()} | given | {"name": _folder_of(given["name"], where)}
    if "prompt" in given:
        given["prompt"] = str(path.parent / user_path(given["prompt"]))
    try:
        return SongRequest(**{"name": f"song-{number}"} | given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _is_folder_name(name: str) -> bool:
    is_short = len(name.encode(errors="replace")) <= _LONGEST_FOLDER_NAME * 4
    return bool(name) and is_short and not name.startswith(".") and not _NOT_IN_FOLDER_NAMES.search(name)


def _folder_of(title: str, where: str) -> str:
    name = folder_name(title)
    if not name or ".." in re.split(r"[/\\]", title.strip()):
        raise ValueError(f"{where}: the name {title!r:.80} must hold letters or digits, as of a folder.")
    return name


def _number(text: str, is_whole: bool, what: str) -> float | int:
    try:
        value = int(text) if is_whole else float(text)
    except ValueError:
        raise ValueError(f"{what} must be a {'whole number' if is_whole else 'number'}, not {text!r:.80}.") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, not {text!r:.80}.")
    return value
