"""A run's folder, read at any time and written by one process at a time.

request.json                  every step as it was decided; replacing it is what begins a step
codes/level_L.safetensors     the codes of a level so far, and the warm-up of its segments
state/                        the windows in progress: what their next codes depend on
level_L/item_N.wav            each finished level as audio
audio.json                    by what the audio that the run has written is told from what somebody has edited
index.html                    the listening page
earlier/K/                    what step K left, where a choice has put it aside; a run like any other
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from ..files.atomic import locked
from ..hierarchy import Hierarchy
from ..sampling.batch import Snapshot
from ..sampling.processes import on_main_process
from ..sampling.request import SamplingRequest, check_song_spans
from ..sampling.scheduler import Rows
from ..sampling.state import LevelCodes, SamplingState
from .audio_files import WrittenAudio
from .contents import REQUEST, RunReader
from .level_codes import write_codes
from .record import RunStep, SongFolder, write_steps
from .run_page import update_page
from .schema import read_steps
from .snapshots import SnapshotStore

_BYTES_SAMPLED = 24  # per code: it, its random number, copies of both


class JukeboxRun(RunReader):
    """What a folder holds of a run, and how it is gone on with.

    Attributes:
        folder: The folder.
        steps: Every step so far; the last one is the current.
        is_owner: Whether this process writes all of it; of several that draw together the others keep their windows in
            progress here and nothing else.
    """

    is_owner: bool = True

    def __init__(self, folder: Path, steps: list[RunStep]) -> None:
        super().__init__(folder, steps)
        self._states = SnapshotStore(folder / "state", len(steps) - 1)

    @classmethod
    @contextmanager
    def shared(cls, first: Callable[[], AbstractContextManager[JukeboxRun]]) -> Iterator[JukeboxRun | None]:
        """A run that several processes draw together; None in one that does not see the folder.

        Args:
            first: How the first process opens it, which owns it; what goes wrong there is raised in all.
        """
        with ExitStack() as stack:
            runs: list[JukeboxRun] = []

            def enter() -> tuple[Path, list[RunStep]]:
                runs.append(stack.enter_context(first()))
                return runs[0].folder, runs[0].steps

            folder, steps = on_main_process(enter)
            if runs:
                yield runs[0]
            else:
                other = cls(folder, steps)
                other.is_owner = False
                yield other if (folder / REQUEST).is_file() else None

    @classmethod
    @contextmanager
    def editing(cls, folder: str | os.PathLike[str]) -> Iterator[Self]:
        """A run that no other process may change meanwhile.

        Raises:
            OSError: another process works on it, or a folder in it is a link.
        """
        cls.open(folder)._check_own()  # before the lock, which would make the folder
        with locked(Path(folder)):
            run = cls.open(folder)
            run._check_own()
            yield run

    @classmethod
    @contextmanager
    def beginning(cls, folder: str | os.PathLike[str], step: RunStep, piece: SamplingState) -> Iterator[Self]:
        """A new run, kept to this process.

        Raises:
            FileExistsError: the folder holds a run already.
            OSError: another process works on it, or it cannot be written.
        """
        check_free(folder)
        with locked(Path(folder)):
            check_free(folder)
            run = cls(Path(folder), [step])
            run._check_own()
            for level, of_level in enumerate(piece.levels):
                run._write_level(level, of_level)
            write_steps(run.folder / REQUEST, run.steps)
            yield run

    # Going on ------------------------------------------------------------------------------------------------------

    def piece(self, hierarchy: Hierarchy) -> SamplingState:
        """Everything drawn so far, ready to be gone on with.

        Raises:
            ValueError: the codes are damaged, do not belong to the request, or either asks for what the models or the
                memory do not have.
        """
        self.check_system(hierarchy)
        check_song_spans(hierarchy, self.request)
        for level in self.request.levels:
            prior, hop = hierarchy.priors[level], self.request.hops[level]
            if prior is not None and (hop > prior.n_ctx or hop % prior.upsampling_ratio):
                raise ValueError(
                    f"{self.folder / REQUEST} has windows {hop} codes apart at level {level}, which its prior cannot "
                    "sample; put back a copy of it."
                )
            self._check_memory(len(self.request.songs) * self._total(level), _BYTES_SAMPLED, self.folder / REQUEST)
        known = [self._read_level(level) for level in range(len(self.step.known))]
        piece = SamplingState.begin(self.request, known, hierarchy)
        for of_level, lengths in zip(piece.levels, self.step.known, strict=True):
            of_level.known = list(lengths)
        return piece

    def check_system(self, hierarchy: Hierarchy) -> None:
        """Refuse models to which the codes of the run mean nothing.

        Raises:
            ValueError: the VQ-VAE has other levels, or fewer codes.
        """
        model, vqvae = self.step.model, hierarchy.vqvae
        if (model.sampling_rate, model.hop_lengths) != (vqvae.sampling_rate, list(vqvae.hop_lengths)):
            raise ValueError(f"{self.folder} was drawn with another model: its levels are others; load that model.")
        for level in range(hierarchy.num_levels):
            read = self._read_level(level)
            warm_ups = [codes for of_song in read.seams for codes in of_song.values()]
            if max((int(codes.max()) for codes in [read.codes, *warm_ups] if codes.numel()), default=0) >= (
                vqvae.codebook_size
            ):
                raise ValueError(
                    f"{self._level_path(level)} holds codes beyond the {vqvae.codebook_size} of the VQ-VAE; put back a "
                    "copy of it."
                )

    def begin(self, step: RunStep) -> None:
        """Make a step the current one. Codes of the step before are read as its own until it writes new ones."""
        write_steps(self.folder / REQUEST, [*self.steps, step])
        self.follow([*self.steps, step])

    def follow(self, steps: list[RunStep]) -> None:
        """Take note of steps that have been written."""
        self.steps = steps
        self._states = SnapshotStore(self.folder / "state", len(steps) - 1)

    def pick(self, song: int) -> None:
        """Go on with one song alone; the others are put aside in `earlier`, which is a run of its own.

        Raises:
            OSError: another process works on the run.
            ValueError: there is no such song, or no choice.
        """
        self._check_own()
        with locked(self.folder):
            self.steps = read_steps(self.folder / REQUEST)
            self._check_own()
            self._check_choice(song)
            known = [[of_level[song]] for of_level in self.filled]
            request = replace(self.request, songs=[self.request.songs[song]])
            aside = self._put_aside()
            self.begin(RunStep.now("pick", request, known, [song], self.step.model))
            for level in range(len(known)):
                kept = aside / f"level_{level}" / f"item_{song}.wav"
                if kept.is_file():
                    _link(kept, self.audio_path(level, 0))
            update_page(self)

    def _check_choice(self, song: int) -> None:
        count = len(self.request.songs)
        if self.step.folders:
            one = self.folder / self.step.folders[0].name
            raise ValueError(f"{self.folder} is a batch of songs; pick in the folder of one of them, such as {one}.")
        if count == 1:
            raise ValueError(f"{self.folder} holds one song, so there is nothing to pick.")
        if not 0 <= song < count:
            raise ValueError(f"{self.folder} holds the songs 0 to {count - 1}; there is no {song}.")

    # Writing -------------------------------------------------------------------------------------------------------

    def save(self, level: int, of_level: LevelCodes, snapshots: Callable[[], Mapping[Rows, Snapshot]]) -> None:
        """Write the codes of a level, and of its windows in progress what their next codes depend on.

        Args:
            snapshots: Called when the codes are written, since copies of the windows may not fit into memory.
        """
        if self.is_owner:
            self._write_level(level, of_level)
        self._states.write(level, snapshots())

    def snapshots(self, level: int) -> dict[Rows, Snapshot]:
        """The windows in progress at a level, by the rows that are drawn in step.

        Raises:
            ValueError: one is damaged.
        """
        return self._states.read(level)

    def forget_snapshots(self, level: int) -> None:
        """Remove the windows in progress of a level that is finished, those of all processes."""
        if self.is_owner:
            self._states.clear(level)

    def write_audio(self, level: int, song: int, blocks: Iterable[np.ndarray]) -> None:
        """Write a song at a level; what somebody has edited in its place is kept under another name."""
        path, hop = self.audio_path(level, song), self.step.model.hop_lengths[-1]
        lengths = {self.song_length(song) * hop, *(step.request.top_codes * hop for step in self.steps)}
        WrittenAudio(path.parents[1]).write(path, blocks, self.sampling_rate, lengths)

    def write_song_folders(self, piece: SamplingState) -> None:
        """Make what is finished of a batch a run of its own in every song's folder."""
        for place in self.step.folders:
            request, levels = _part(piece, place, self.step.model.hop_lengths)
            known = [of_level.known for of_level in levels]
            step = RunStep.now(self.step.action, request, known, range(len(request.songs)), self.step.model)
            run = JukeboxRun(self.folder / place.name, [step])
            for level, of_level in enumerate(levels):
                run._write_level(level, of_level)
            write_steps(run.folder / REQUEST, run.steps)

    # Parts ---------------------------------------------------------------------------------------------------------

    def _check_own(self) -> None:
        """Refuse to write through links: the folders of a run lie in it.

        Raises:
            OSError: which folder is a link.
        """
        within = [self.folder / place.name for place in self.step.folders]
        aside = self.folder / "earlier" / str(len(self.steps) - 1)
        for parent in (self.folder, *within, aside):
            names = [parent / name for name in ("codes", "state", "earlier", "alignment")]
            inner = [] if parent == self.folder else [parent]
            for folder in (*inner, *names, *parent.glob("level_*")):
                if folder.is_symlink() or getattr(os.path, "isjunction", os.path.islink)(folder):  # from Python 3.12 on
                    raise OSError(
                        f"{folder} is a link; put what it leads to in its place, since a run is written to its folder "
                        "alone."
                    )

    def _write_level(self, level: int, of_level: LevelCodes) -> None:
        if any(of_level.filled) or any(of_level.seams):
            write_codes(self._level_path(level), of_level, len(self.steps) - 1)

    def _put_aside(self) -> Path:
        """Keep the current step, its codes, its audio and their page in a folder of their own."""
        aside = self.folder / "earlier" / str(len(self.steps) - 1)
        kept_twice = [self.folder / REQUEST, *self.folder.glob("audio.json"), *self.folder.glob("codes/*.safetensors")]
        for path in kept_twice:
            _link(path, aside / path.relative_to(self.folder))
        for path in [*self.folder.glob("level_*/item_*.wav"), *self.folder.glob("index.html")]:
            kept = aside / path.relative_to(self.folder)
            kept.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, kept)
        return aside


def check_free(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds a run.

    Raises:
        FileExistsError: it does; the message says how to go on with it.
    """
    if not (Path(folder) / REQUEST).exists():
        return
    if JukeboxRun.open(folder).is_finished:
        what = f"a finished run; to make it longer use: hf-jukebox continue {folder} --seconds S"
    else:
        what = f"an unfinished run; to go on with it use: hf-jukebox resume {folder}"
    raise FileExistsError(f"{folder} holds {what}, or give another folder for the new one.")


def _part(piece: SamplingState, place: SongFolder, hops: Sequence[int]) -> tuple[SamplingRequest, list[LevelCodes]]:
    """Some songs of a piece as a piece of their own, cut to their length; levels in progress as they were before."""
    rows = slice(place.first, place.last + 1)
    levels = []
    for level, of_level in enumerate(piece.levels):
        total = place.top_codes * hops[-1] // hops[level]
        known = [min(length, total) for length in of_level.known[rows]]
        finished = of_level.is_finished and level in piece.request.levels
        filled = [total] * len(known) if finished else known
        levels.append(LevelCodes(of_level.codes[rows, :total], known, list(filled), of_level.seams[rows]))
    request = replace(piece.request, songs=piece.request.songs[rows], top_codes=place.top_codes)
    return request, levels


def _link(source: Path, target: Path) -> None:
    """Give a file, which is only ever replaced as a whole, a second name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
