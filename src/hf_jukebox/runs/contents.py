"""The content of a run folder, read only, so that a run can be read while another process samples it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import torch

from ..files.text import shell_command
from ..memory.batch_size import free_bytes
from ..sampling.known import KnownCodes
from ..sampling.request import SamplingRequest
from .audio_files import wav_frames
from .names import REQUEST
from .record import RunStep, SongFolder
from .schema import read_steps
from .storage import codes_path, read_codes

_BYTES_PER_CODE = 16  # in memory, copies included; a file has 4
_SMALL = 2**28  # bytes that need not be compared with the free memory


class RunReader:
    """Reader of a run, which may be in progress.

    Attributes:
        folder: Folder of the run.
        steps: Every step so far; the last one is the current.
    """

    def __init__(self, folder: Path, steps: list[RunStep]) -> None:
        self.folder = folder
        self.steps = steps

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a run, which may be in progress and come from an untrusted source.

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
        """Codes that all songs have so far, finest level first, `[N, T_level]`."""
        return [self.level_codes(level) for level in range(len(self.step.known))]

    def level_codes(self, level: int) -> torch.Tensor:
        """Return the codes that all songs have so far at a level, `[N, T_level]`."""
        known = self.read_level(level)
        return known.codes[:, : min(known.lengths)]

    def song_codes(self, song: int) -> list[KnownCodes]:
        """Return the codes that a song has so far, per level, finest first, with the seams of parallel upsampling."""
        levels = []
        for level in range(len(self.step.known)):
            known, length = self.read_level(level).select([song]), self.song_length(song, level)
            known.lengths = [min(known.lengths[0], length)]
            levels.append(known.select([0]))
        return levels

    @property
    def num_filled(self) -> list[list[int]]:
        """Codes filled so far, per level (finest first) and song."""
        return [self.read_level(level).lengths for level in range(len(self.step.known))]

    def avoided(self, level: int) -> list[dict[int, float]]:
        """Return the price in bits of each position at which codes of a catalogue were excluded, per song."""
        return self.read_level(level).avoided or [{} for _ in self.request.songs]

    def avoided_in_words(self) -> str:
        """Return a sentence on the catalogue that the run avoids, and the price of that; empty if it avoids none."""
        avoid = self.request.avoid
        if avoid is None:
            return ""
        prices = [bits for level in self.request.levels for song in self.avoided(level) for bits in song.values()]
        return (
            f"Agrees with {Path(avoid.catalogue).name} for {avoid.longest_in_s:g} s at most: codes were excluded at "
            f"{len(prices)} positions, for {sum(prices):.1f} bits."
        )

    @property
    def is_finished(self) -> bool:
        """True when every code of the current step is sampled; its audio may still be missing."""
        return all(min(self.read_level(level).lengths) >= self._length(level) for level in self.request.levels)

    def audio_path(self, level: int, song: int) -> Path:
        """Return the path of a song's audio at a level, whether or not it exists yet."""
        part = self.song_folder(song)
        folder, item = (self.folder, song) if part is None else (self.folder / part.name, song - part.first)
        return folder / f"level_{level}" / f"item_{item}.wav"

    def song_folder(self, song: int) -> SongFolder | None:
        """Return the folder of a song in a batch of songs; None in a run of its own."""
        return next((part for part in self.step.folders if part.first <= song <= part.last), None)

    def audio_paths(self) -> dict[int, list[Path]]:
        """Return the audio of the current step, one path per song, for each level that has it, finest first."""
        songs = range(len(self.request.songs))
        paths = {level: [self.audio_path(level, song) for song in songs] for level in range(len(self.step.known))}
        return {level: level_paths for level, level_paths in paths.items() if not self.missing_audio(level)}

    def finished_audio(self) -> dict[int, list[Path]]:
        """Return the same as `audio_paths`.

        Raises:
            ValueError: no level has its audio yet.
        """
        found = self.audio_paths()
        if not found:
            raise self.unfinished()
        return found

    def unfinished(self) -> ValueError:
        """Return the error for a run of which a finished level is needed."""
        resume = shell_command("hf-jukebox", "resume", self.folder)
        return ValueError(f"{self.folder} has no finished level yet; resume it first: {resume}")

    def missing_audio(self, level: int) -> list[int]:
        """Return the songs without audio of the right length at a level."""

        def has_audio(song: int) -> bool:
            samples = self.song_length(song) * self.step.model.hop_lengths[-1]
            return wav_frames(self.audio_path(level, song)) == samples

        return [song for song in range(len(self.request.songs)) if not has_audio(song)]

    def song_length(self, song: int, level: int | None = None) -> int:
        """Return the codes of a song at a level, the top one by default; fewer than the piece's for a shorter song."""
        part = self.song_folder(song)
        top = self.request.top_codes if part is None else part.top_codes
        hops = self.step.model.hop_lengths
        return top if level is None else top * hops[-1] // hops[level]

    def audio_lengths(self, song: int) -> set[int]:
        """Return the samples that audio of a song may have: as long as the song is now, or was after any step."""
        hop = self.step.model.hop_lengths[-1]
        return {self.song_length(song) * hop, *(step.request.top_codes * hop for step in self.steps)}

    # Parts ---------------------------------------------------------------------------------------------------------

    def _length(self, level: int) -> int:
        hops = self.step.model.hop_lengths
        return self.request.top_codes * hops[-1] // hops[level]

    def read_level(self, level: int) -> KnownCodes:
        """Read the codes of a level for the songs of the current step."""
        path, known = codes_path(self.folder, level), self.step.known[level]
        empty = torch.zeros(len(known), 0, dtype=torch.long, device="cpu")
        read = KnownCodes(empty, [0] * len(known), [[] for _ in known])
        if path.is_file():
            self._check_memory(len(known) * max(known), _BYTES_PER_CODE, path)
            self._check_memory(path.stat().st_size, _BYTES_PER_CODE // 4, path)
            read, step = read_codes(path)
            if step >= len(self.steps):  # another process started a step since we read the file
                self.steps = read_steps(self.folder / REQUEST)
                if step < len(self.steps):
                    return self.read_level(level)
            if step >= len(self.steps) or len(read.lengths) != len(self.steps[step].request.songs):
                raise self._wrong_codes(path)
            if step + 1 < len(self.steps):
                rows = list(range(len(read.lengths)))
                for later in self.steps[step + 1 :]:
                    rows = [rows[row] for row in later.rows]
                read = read.select(rows)
        lengths = read.lengths
        fits = len(lengths) == len(known) and all(a <= b for a, b in zip(known, lengths, strict=True))
        if not fits or read.codes.shape[1] > self._length(level):
            raise self._wrong_codes(path)
        return read

    def _wrong_codes(self, path: Path) -> ValueError:
        return ValueError(f"{path} does not hold the codes that {REQUEST} describes; put back a copy of it.")

    def _check_memory(self, count: int, size: int, source: Path) -> None:
        """Refuse data that would not fit into memory, before it is read or allocated.

        Raises:
            ValueError: `count` values of `size` bytes would not.
        """
        wanted = count * size
        if wanted > _SMALL and wanted > free_bytes(torch.device("cpu")):
            raise ValueError(
                f"{source} needs {wanted / 1e9:.3g} GB of memory, more than is free; put back a copy of it, or use a "
                "machine with more memory."
            )
