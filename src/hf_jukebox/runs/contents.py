"""What a run's folder holds. Nothing here writes, so that a run can be looked at while another process draws it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import torch

from ..memory.batch_size import free_bytes
from ..sampling.known import KnownCodes
from ..sampling.request import SamplingRequest
from .audio_files import wav_frames
from .level_codes import read_codes
from .record import RunStep
from .schema import read_steps

REQUEST = "request.json"
_BYTES_PER_CODE = 16  # in memory, copies included; a file has 4
_SMALL = 2**28  # bytes that need not be compared with what is free


class RunReader:
    """A run as it can be read at any time.

    Attributes:
        folder: The folder.
        steps: Every step so far; the last one is the current.
    """

    def __init__(self, folder: Path, steps: list[RunStep]) -> None:
        self.folder = folder
        self.steps = steps

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a run, which may be in progress and come from anybody.

        Raises:
            FileNotFoundError: the folder holds no run.
            OSError: it cannot be read.
            ValueError: it is damaged, or was written by a newer version.
        """
        return cls(Path(folder), read_steps(Path(folder) / REQUEST))

    @property
    def step(self) -> RunStep:
        return self.steps[-1]

    @property
    def request(self) -> SamplingRequest:
        return self.step.request

    @property
    def sampling_rate(self) -> int:
        return self.step.model.sampling_rate

    @property
    def seconds(self) -> float:
        """Length of the piece when it is finished."""
        return self.request.top_codes * self.step.model.hop_lengths[-1] / self.sampling_rate

    @property
    def codes(self) -> list[torch.Tensor]:
        """The codes that all songs have by now, finest level first, `[N, T_level]`."""
        levels = [self._read_level(level) for level in range(len(self.step.known))]
        return [of_level.codes[:, : min(of_level.lengths)] for of_level in levels]

    @property
    def filled(self) -> list[list[int]]:
        """How many codes there are by now, for each level (finest first) one number a song."""
        return [self._read_level(level).lengths for level in range(len(self.step.known))]

    @property
    def is_finished(self) -> bool:
        """Whether every code of the current step is drawn; its audio may still be missing."""
        return all(min(self._read_level(level).lengths) >= self._total(level) for level in self.request.levels)

    def audio_path(self, level: int, song: int) -> Path:
        """Where the audio of a song at a level lies, or will lie."""
        for place in self.step.folders:
            if place.first <= song <= place.last:
                return self.folder / place.name / f"level_{level}" / f"item_{song - place.first}.wav"
        return self.folder / f"level_{level}" / f"item_{song}.wav"

    def audio_paths(self) -> dict[int, list[Path]]:
        """The audio of the current step, one path a song, for each level that has it, finest first."""
        songs = range(len(self.request.songs))
        paths = {level: [self.audio_path(level, song) for song in songs] for level in range(len(self.step.known))}
        return {level: of_level for level, of_level in paths.items() if not self.missing_audio(level)}

    def missing_audio(self, level: int) -> list[int]:
        """The songs that have no audio of the length of the piece at a level."""

        def has_audio(song: int) -> bool:
            samples = self.song_length(song) * self.step.model.hop_lengths[-1]
            return wav_frames(self.audio_path(level, song)) == samples

        return [song for song in range(len(self.request.songs)) if not has_audio(song)]

    def song_length(self, song: int) -> int:
        """Top-level codes of a song: those of the piece, or fewer for a shorter song of a batch."""
        lengths = [place.top_codes for place in self.step.folders if place.first <= song <= place.last]
        return lengths[0] if lengths else self.request.top_codes

    # Parts ---------------------------------------------------------------------------------------------------------

    def _total(self, level: int) -> int:
        hops = self.step.model.hop_lengths
        return self.request.top_codes * hops[-1] // hops[level]

    def _level_path(self, level: int) -> Path:
        return self.folder / "codes" / f"level_{level}.safetensors"

    def _read_level(self, level: int) -> KnownCodes:
        """The codes of a level in the songs of the current step."""
        path, known = self._level_path(level), self.step.known[level]
        read = KnownCodes(torch.zeros(len(known), 0, dtype=torch.long), [0] * len(known))
        if path.is_file():
            self._check_memory(len(known) * max(known), _BYTES_PER_CODE, path)
            self._check_memory(path.stat().st_size, _BYTES_PER_CODE // 4, path)
            read, step = read_codes(path)
            if step >= len(self.steps):  # a step has begun since we looked
                self.steps = read_steps(self.folder / REQUEST)
                if step < len(self.steps):
                    return self._read_level(level)
            if step >= len(self.steps) or len(read.lengths) != len(self.steps[step].request.songs):
                raise self._wrong_codes(path)
            if step + 1 < len(self.steps):
                rows = list(range(len(read.lengths)))
                for later in self.steps[step + 1 :]:
                    rows = [rows[row] for row in later.rows]
                read = read.of_songs(rows)
        lengths = read.lengths
        fits = len(lengths) == len(known) and all(a <= b for a, b in zip(known, lengths, strict=True))
        if not fits or read.codes.shape[1] > self._total(level):
            raise self._wrong_codes(path)
        return read

    def _wrong_codes(self, path: Path) -> ValueError:
        return ValueError(f"{path} does not hold the codes that {REQUEST} speaks of; put back a copy of it.")

    def _check_memory(self, count: int, size: int, what: Path) -> None:
        """Refuse what would not fit into memory, before it is read or made room for.

        Raises:
            ValueError: `count` things of `size` bytes would not.
        """
        wanted = count * size
        if wanted > _SMALL and wanted > free_bytes(torch.device("cpu")):
            raise ValueError(
                f"{what} asks for {wanted / 1e9:.3g} GB of memory, more than there is free; put back a copy of it, or "
                "use a machine with more."
            )
