"""A run folder, readable at any time and written by one process at a time.

request.json                  every step with all its settings; replacing it starts a step
codes/level_L.safetensors     the codes of a level so far, and the warm-up of its segments
state/                        snapshots of the windows in progress
level_L/item_N.wav            each finished level as audio
audio.json                    digests of the audio that the run wrote, to recognise edited files
index.html                    the listening page
earlier/K/                    step K, moved aside by a pick; itself a run
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from ..files.atomic import locked
from ..files.text import shell_command
from ..hierarchy import Hierarchy
from ..sampling.batch import Snapshot
from ..sampling.known import KnownCodes
from ..sampling.processes import on_main_process
from ..sampling.request import SamplingRequest, check_song_spans
from ..sampling.scheduler import Rows
from ..sampling.state import LevelCodes, SamplingState
from .audio_files import WrittenAudio
from .contents import RunReader
from .names import REQUEST
from .record import RunStep, SongFolder, write_steps
from .storage import SnapshotStore, codes_path, write_codes

_BYTES_SAMPLED = 24  # per code: it, its random number, copies of both


class JukeboxRun(RunReader):
    """A run on disk, for reading and writing.

    Attributes:
        folder: Folder of the run.
        steps: Every step so far; the last one is the current.
        is_owner: True in the process that writes the run; the other processes write only their windows in progress.
    """

    is_owner: bool = True

    def __init__(self, folder: Path, steps: list[RunStep]) -> None:
        super().__init__(folder, steps)
        self._snapshots = SnapshotStore(folder / "state", len(steps) - 1)

    @classmethod
    @contextmanager
    def open_shared(cls, first: Callable[[], AbstractContextManager[JukeboxRun]]) -> Iterator[JukeboxRun | None]:
        """Open a run for all processes; None in a process that does not see the folder.

        Args:
            first: Opens the run on the main process, which owns it; errors are raised on every process.
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
    def open_for_writing(cls, folder: str | os.PathLike[str]) -> Iterator[Self]:
        """Open a run and lock its folder.

        Raises:
            OSError: another process works on it, or a folder in it is a link.
        """
        cls.open(folder).check_no_links()  # before the lock, which would create the folder
        with locked(Path(folder)):
            run = cls.open(folder)
            run.check_no_links()
            yield run

    @classmethod
    @contextmanager
    def create(cls, folder: str | os.PathLike[str], step: RunStep, state: SamplingState) -> Iterator[Self]:
        """Create a run and lock its folder.

        Raises:
            FileExistsError: the folder holds a run already.
            OSError: another process works on it, or it cannot be written.
        """
        check_no_run(folder)
        with locked(Path(folder)):
            check_no_run(folder)
            run = cls(Path(folder), [step])
            run.check_no_links()
            for level, level_codes in enumerate(state.levels):
                run._write_level(level, level_codes)
            write_steps(run.folder / REQUEST, run.steps)
            yield run

    # Steps ----------------------------------------------------------------------------------------------------------

    def load_state(self, hierarchy: Hierarchy) -> SamplingState:
        """Load the request and everything sampled so far.

        Raises:
            ValueError: the codes are damaged, do not belong to the request, or exceed the models or the memory.
        """
        known = self.check_hierarchy(hierarchy)
        check_song_spans(hierarchy, self.request)
        for level in self.request.levels:
            prior, hop = hierarchy.priors[level], self.request.hops[level]
            if prior is not None and (hop > prior.n_ctx or hop % prior.upsampling_ratio):
                raise ValueError(
                    f"{self.folder / REQUEST} has windows {hop} codes apart at level {level}, which its prior cannot "
                    "sample; put back a copy of it."
                )
            self._check_memory(len(self.request.songs) * self._length(level), _BYTES_SAMPLED, self.folder / REQUEST)
        state = SamplingState.begin(self.request, known, hierarchy)
        for level_codes, num_given in zip(state.levels, self.step.known, strict=True):
            level_codes.num_given = list(num_given)
        return state

    def check_hierarchy(self, hierarchy: Hierarchy) -> list[KnownCodes]:
        """Read the codes of every level, and refuse models that cannot read them.

        Raises:
            ValueError: the VQ-VAE has other levels, or fewer codes.
        """
        model, vqvae = self.step.model, hierarchy.vqvae
        if (model.sampling_rate, model.hop_lengths) != (vqvae.sampling_rate, list(vqvae.hop_lengths)):
            raise ValueError(f"{self.folder} was sampled with another model, whose levels differ; load that model.")
        levels = []
        for level in range(hierarchy.num_levels):
            read = self.read_level(level)
            if not read.are_codes(vqvae.codebook_size):
                raise ValueError(
                    f"{codes_path(self.folder, level)} holds codes beyond the {vqvae.codebook_size} of the VQ-VAE; put "
                    "back a copy of it."
                )
            levels.append(read)
        return levels

    def start_step(self, step: RunStep) -> None:
        """Make a step the current one. It reads the codes of the previous step until it writes its own."""
        self.set_steps([*self.steps, step])
        write_steps(self.folder / REQUEST, self.steps)

    def start_checked_step(self, step: RunStep, hierarchy: Hierarchy) -> SamplingState:
        """Make a step the current one and load its state; a step whose state cannot be loaded is not written.

        Raises:
            ValueError: see `load_state`.
        """
        self.set_steps([*self.steps, step])
        state = self.load_state(hierarchy)
        write_steps(self.folder / REQUEST, self.steps)
        return state

    def set_steps(self, steps: list[RunStep]) -> None:
        """Use steps that another process has written."""
        self.steps = steps
        self._snapshots = SnapshotStore(self.folder / "state", len(steps) - 1)

    # Writing -------------------------------------------------------------------------------------------------------

    def save(self, level: int, level_codes: LevelCodes, snapshots: Callable[[], Mapping[Rows, Snapshot]]) -> None:
        """Write the codes of a level, and snapshots of its windows in progress.

        Args:
            snapshots: Returns the snapshots; called after the codes are written, because they may not fit into memory.

        Raises:
            OSError: a file cannot be written; an older one is unchanged.
        """
        if self.is_owner:
            self._write_level(level, level_codes)
        self._snapshots.write(level, snapshots())

    def snapshots(self, level: int) -> dict[Rows, Snapshot]:
        """Read the snapshots of a level, by the rows that are sampled in lockstep.

        Raises:
            ValueError: one is damaged.
        """
        return self._snapshots.read(level)

    def forget_snapshots(self, level: int) -> None:
        """Remove the snapshots of a finished level, those of all processes."""
        if self.is_owner:
            self._snapshots.clear(level)

    def write_audio(self, level: int, song: int, blocks: Iterable[np.ndarray]) -> None:
        """Write a song at a level; a file that was edited in its place is kept under another name."""
        path, hop = self.audio_path(level, song), self.step.model.hop_lengths[-1]
        lengths = {self.song_length(song) * hop, *(step.request.top_codes * hop for step in self.steps)}
        WrittenAudio(path.parents[1]).write(path, blocks, self.sampling_rate, lengths)

    def write_song_folders(self, state: SamplingState) -> None:
        """Write the finished levels of a batch as a run in the folder of every song."""
        for part in self.step.folders:
            request, levels = _song_part(state, part, self.step.model.hop_lengths)
            num_given = [level_codes.num_given for level_codes in levels]
            step = RunStep.now(self.step.action, request, num_given, range(len(request.songs)), self.step.model)
            run = JukeboxRun(self.folder / part.name, [step])
            for level, level_codes in enumerate(levels):
                run._write_level(level, level_codes)
            write_steps(run.folder / REQUEST, run.steps)

    # Parts ---------------------------------------------------------------------------------------------------------

    def check_no_links(self) -> None:
        """Refuse a run with a link in the place of a folder, since a run writes only inside its folder.

        Raises:
            OSError: a folder is a link; the message names it.
        """
        within = [self.folder / part.name for part in self.step.folders]
        aside = self.folder / "earlier" / str(len(self.steps) - 1)
        for parent in (self.folder, *within, aside):
            names = [parent / name for name in ("codes", "state", "earlier", "alignment", "surprise")]
            inner = [] if parent == self.folder else [parent]
            for folder in (*inner, *names, *parent.glob("level_*")):
                if folder.is_symlink() or getattr(os.path, "isjunction", os.path.islink)(folder):  # from Python 3.12 on
                    raise OSError(
                        f"{folder} is a link, but a run writes only inside its folder; replace the link by the folder "
                        "that it leads to."
                    )

    def _write_level(self, level: int, level_codes: LevelCodes) -> None:
        if any(level_codes.num_filled) or any(level_codes.seams):
            write_codes(codes_path(self.folder, level), level_codes, len(self.steps) - 1)


def check_no_run(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds a run.

    Raises:
        FileExistsError: it does; the message says how to continue that run.
    """
    if not (Path(folder) / REQUEST).exists():
        return
    run = JukeboxRun.open(folder)
    if not run.is_finished:
        found = f"an unfinished run; continue it with: {shell_command('hf-jukebox', 'resume', run.folder)}"
    elif run.step.folders:
        song = run.folder / run.step.folders[0].name
        extend = shell_command("hf-jukebox", "continue", song, "--seconds", "S")
        found = f"a finished batch; extend one of its songs with: {extend}"
    else:
        extend = shell_command("hf-jukebox", "continue", run.folder, "--seconds", "S")
        found = f"a finished run; extend it with: {extend}"
    raise FileExistsError(f"{folder} holds {found}, or give another folder for the new one.")


def _song_part(state: SamplingState, part: SongFolder, hops: Sequence[int]) -> tuple[SamplingRequest, list[LevelCodes]]:
    """Return the request and codes of some songs, cut to their length; unfinished levels keep only given codes."""
    rows = slice(part.first, part.last + 1)
    levels = []
    for level, level_codes in enumerate(state.levels):
        length = part.top_codes * hops[-1] // hops[level]
        num_given = [min(given, length) for given in level_codes.num_given[rows]]
        finished = level_codes.is_finished and level in state.request.levels
        num_filled = [length] * len(num_given) if finished else list(num_given)
        avoided = [
            {position: bits for position, bits in prices.items() if position < length}
            for prices in level_codes.avoided[rows]
        ]
        seams = level_codes.seams[rows]
        levels.append(LevelCodes(level_codes.codes[rows, :length], num_given, num_filled, seams, avoided))
    request = replace(state.request, songs=state.request.songs[rows], top_codes=part.top_codes)
    return request, levels
