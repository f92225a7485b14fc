"""Several songs in one file, to be drawn as one batch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml

_FOLDER_NAME = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class SongRequest:
    """One song of a batch.

    Args:
        name: Its folder, within that of the batch.
        artist, genre, lyrics: Labels, unknown by default.
        prompt: A recording to continue; a song without one is made up.
        prompt_seconds: How much of the prompt's start to use.
        seed: Makes the song repeatable, whatever else is in the batch.
        seconds: Length of the result, prompt included; one window of the top prior by default.
        total_seconds: Length of the song of which this is a part.
        offset_seconds: Where in its song the piece begins.
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

    def generator(self) -> torch.Generator:
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        return generator if self.seed is None else generator.manual_seed(self.seed)


def read_songs(path: str | os.PathLike[str]) -> list[SongRequest]:
    """The songs of a .yaml file (a list) or a .jsonl file (one object a line); prompts are relative to the file.

    A song without a `name` is called by its number, from `song-1` on.

    Raises:
        OSError: the file cannot be read.
        ValueError: which song or field of it is wrong.
    """
    path = Path(path)
    songs = [_song(entry, number, path) for number, entry in enumerate(_entries(path), start=1)]
    if not songs:
        raise ValueError(f"{path} holds no songs; give a list with one entry a song.")
    names = [song.name for song in songs]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path}: {', '.join(sorted(twice))} is the name of more than one song; names are folders.")
    return songs


def _entries(path: Path) -> Sequence[Any]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix in (".yaml", ".yml"):
            entries = yaml.safe_load(text)
            return entries if isinstance(entries, list) else []
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error
    raise ValueError(f"{path} must end in .yaml or .jsonl.")


def _song(entry: Any, number: int, path: Path) -> SongRequest:
    where = f"{path}, song {number}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected fields such as artist and genre, not {entry!r}.")
    types = {field.name: str(field.type) for field in fields(SongRequest)}
    for name, value in entry.items():
        if name not in types:
            raise ValueError(f"{where}: there is no field {name!r}; there are {', '.join(types)}.")
        wanted: tuple[type, ...] = (str,)
        if types[name].startswith(("float", "int")):
            wanted = (int,) if types[name].startswith("int") else (int, float)
        if value is not None and (isinstance(value, bool) or not isinstance(value, wanted)):
            raise ValueError(f"{where}: {name} must be a {wanted[-1].__name__}, not {value!r}.")
    given = {name: value for name, value in entry.items() if value is not None}
    song = SongRequest(**{"name": f"song-{number}"} | given)
    if _FOLDER_NAME.search(song.name) or song.name.strip(".") == "":
        raise ValueError(f"{where}: the name {song.name!r} must be letters, digits, '-', '_' and '.', as of a folder.")
    return song if song.prompt is None else replace(song, prompt=str(path.parent / song.prompt))
