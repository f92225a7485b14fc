"""A song of a run inside an audio file: its codes at all levels, its settings and its model, to go on from there.

The data of a song is one safetensors file: the tensors of every level's codes, and in its metadata the text of a
`request.json` with one step. It comes with files that people send each other, so it is read as anybody's: with the
checks of a run folder, and nothing is unpickled or run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..audio.blocks import WITH_BLOCKS, read_data
from ..audio.mark import data_metadata
from ..files.atomic import new_folder
from ..files.tensors import tensors_metadata
from ..files.text import user_path
from ..sampling.known import KnownCodes
from .contents import RunReader
from .folder import JukeboxRun
from .names import REQUEST
from .record import RunStep, steps_to_json, write_steps
from .run_page import prompt_codes
from .schema import parse_steps
from .storage import codes_path, codes_to_tensors, tensors_to_codes, write_level


class NoCodesError(ValueError):
    """Error for an audio file that holds no codes."""


@dataclass
class SongFile:
    """A song that was read from an audio file.

    Attributes:
        path: The audio file.
        step: Its settings and its model.
        levels: Its codes, per level, finest first.
    """

    path: Path
    step: RunStep
    levels: list[KnownCodes]

    @property
    def run(self) -> RunReader:
        """The song as a run that has no folder yet."""
        return RunReader(self.path, [self.step])

    def write_run(self, folder: str | os.PathLike[str]) -> Path:
        """Write the song as the run that it came from, which can be continued; return its folder.

        Raises:
            FileExistsError: there is something of that name already.
            OSError: it cannot be written.
            ValueError: the codes do not belong to the settings.
        """
        folder = user_path(folder)
        if folder.exists() or folder.is_symlink():
            raise FileExistsError(f"{folder} exists already; give another folder for the run of {self.path.name}.")
        with new_folder(folder) as unfinished:
            for level, known in enumerate(self.levels):
                if known.lengths[0]:
                    write_level(codes_path(unfinished, level), known, 0)
            write_steps(unfinished / REQUEST, [self.step])
            if not self._is_whole(unfinished):
                raise ValueError(f"{self.path} is damaged: its codes do not belong to its settings; use a copy of it.")
        return folder

    def _is_whole(self, folder: Path) -> bool:
        try:
            return JukeboxRun.open(folder).is_finished
        except ValueError:
            return False


def song_data(run: RunReader, song: int, comments: Mapping[str, str]) -> bytes:
    """Return the data of a song for an audio file.

    Args:
        comments: Comment fields, which a wav file has nowhere else.

    Raises:
        ValueError: none of its levels is finished.
    """
    levels = run.song_codes(song)
    step = _one_step(run, song, [known.lengths[0] for known in levels])
    tensors = {
        f"{level}.{name}": tensor.contiguous()
        for level, known in enumerate(levels)
        for name, tensor in codes_to_tensors(known).items()
    }
    return save(tensors, data_metadata(comments, steps_to_json([step])))


def open_song(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write the song in an audio file as a run, in a new folder; return that folder, for `continue_run`.

    Args:
        path: A wav or flac file that `export_run` wrote.
        folder: A folder that does not exist yet.

    Raises:
        OSError: the file cannot be read, or the folder cannot be written.
        ValueError: the file holds no codes, or damaged ones.
    """
    return read_song(path).write_run(folder)


def read_song(path: str | os.PathLike[str]) -> SongFile:
    """Read the song in an audio file, which may come from an untrusted source.

    Raises:
        OSError: the file cannot be read.
        NoCodesError: it holds no codes.
        ValueError: it holds damaged ones.
    """
    path = user_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; check its name.")
    data = read_data(path)
    if data is None:
        raise NoCodesError(_no_codes(path))
    damaged = f"{path} is damaged: the codes in it cannot be read; use a copy of it."
    try:
        tensors = load(data)
        content = from_json(tensors_metadata(data).get("song", ""))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(damaged) from error
    text = content.get("request") if isinstance(content, dict) else content
    if text is None:
        raise NoCodesError(
            f"{path} is audio of a run, or was exported without metadata, and holds no codes; continue the run itself."
        )
    if not isinstance(text, str):
        raise ValueError(damaged)
    steps = parse_steps(text, path)
    levels = _levels(tensors, len(steps[0].known))
    if len(steps) != 1 or len(steps[0].request.songs) != 1 or steps[0].folders or levels is None:
        raise ValueError(damaged)
    return SongFile(path, steps[0], levels)


def _no_codes(path: Path) -> str:
    """Return the message for a file without codes."""
    kinds = " or ".join(WITH_BLOCKS)
    why = "it was not exported by hf-jukebox, or another program has written it since"
    if path.suffix.lower() not in WITH_BLOCKS:
        why = f"only {kinds} files that hf-jukebox exported have them"
    return f"{path} holds no codes: {why}; to continue it by its sound, give it to hf-jukebox sample as a prompt."


def _levels(tensors: dict[str, torch.Tensor], count: int) -> list[KnownCodes] | None:
    """Return the codes of each level; None if the tensors are something else."""
    levels = []
    for level in range(count):
        prefix = f"{level}."
        own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        known = tensors_to_codes({name.removeprefix(prefix): tensor for name, tensor in own.items()})
        if known is None or len(known.lengths) != 1:
            return None
        levels.append(known)
    return None if tensors else levels


def _one_step(run: RunReader, song: int, lengths: Sequence[int]) -> RunStep:
    """Return the run of one song, with this many codes per level, as one step that has sampled all finished levels."""
    named = {level for step in run.steps for level in step.request.levels}
    sampled = {level for level in named if lengths[level] >= run.song_length(song, level)}
    if not sampled:
        raise run.unfinished()
    step, hops = run.step, run.step.model.hop_lengths
    request = replace(
        step.request,
        songs=[step.request.songs[song]],
        top_codes=run.song_length(song),
        levels=sorted(sampled, reverse=True),
    )
    prompt = min(prompt_codes(run.steps)[song], request.top_codes)
    known = [[prompt * hops[-1] // hop if level in sampled else lengths[level]] for level, hop in enumerate(hops)]
    return replace(step, action="sample", request=request, known=known, rows=[0], folders=[])
