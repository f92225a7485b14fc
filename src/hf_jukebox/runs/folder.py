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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Self

import numpy as np

from ..audio import check_wav_length
from ..files.atomic import locked, sync_folder
from ..files.text import shell_command
from ..hierarchy import Hierarchy
from ..sampling.batch import Snapshot
from ..sampling.known import KnownCodes
from ..sampling.processes import on_main_process
from ..sampling.request import check_song_spans
from ..sampling.scheduler import Rows
from ..sampling.state import LevelCodes, SamplingState
from .audio_files import WrittenAudio
from .contents import RunReader
from .names import REQUEST
from .record import RunStep, write_steps
from .schema import check_steps
from .song_folders import SongFolders
from .storage import SnapshotStore, codes_path, write_codes

_UNFINISHED = ".new"  # is there until the first codes and the request of a run are written
_OWN_FILES = (
    "codes/*.safetensors",
    "state/*.safetensors",
    "level_*/item_*.wav",
    "earlier/*/request.json",
    "audio.json",
    "index.html",
)
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
        self._song_folders = SongFolders(folder, self.step)

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
            (run.folder / _UNFINISHED).unlink(missing_ok=True)
            yield run

    @classmethod
    @contextmanager
    def create(cls, folder: str | os.PathLike[str], step: RunStep, state: SamplingState) -> Iterator[Self]:
        """Create a run and lock its folder.

        Raises:
            FileExistsError: the folder, or that of a song, holds a run already, or files that look like those of one.
            OSError: another process works on it, or it cannot be written.
            ValueError: the step could not be read again, or its audio is longer than a wav file can be.
        """
        _check_can_be_written([step], Path(folder))
        names = [part.name for part in step.folders]
        check_no_run(folder, names)
        with locked(Path(folder)):
            check_no_run(folder, names)
            run = cls(Path(folder), [step])
            run.check_no_links()
            run._begin_creation()
            for level, level_codes in enumerate(state.levels):
                run._write_level(level, level_codes)
            write_steps(run.folder / REQUEST, run.steps)
            (run.folder / _UNFINISHED).unlink(missing_ok=True)
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
        self._write_steps()

    def start_checked_step(self, step: RunStep, hierarchy: Hierarchy) -> SamplingState:
        """Make a step the current one and load its state; a step whose state cannot be loaded is not written.

        Raises:
            ValueError: see `load_state`.
        """
        self.set_steps([*self.steps, step])
        state = self.load_state(hierarchy)
        self._write_steps()
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
        """Write a song at a level; a file that was edited in its place is kept under another name.

        In a batch nothing is written to, and no block is taken for, the folder of a song that somebody has changed.
        """
        path, part = self.audio_path(level, song), self.song_folder(song)
        with nullcontext(True) if part is None else self._song_folders.writing(part) as is_ours:
            if is_ours:
                WrittenAudio(path.parents[1]).write(path, blocks, self.sampling_rate, self.audio_lengths(song))

    def audio_to_write(self, level: int) -> list[int]:
        """Return the songs that lack audio at a level, in folders that this run may write."""
        parts = {song: self.song_folder(song) for song in self.missing_audio(level)}
        return [song for song, part in parts.items() if part is None or self._song_folders.may_write(part)]

    def write_song_folders(self, state: SamplingState) -> None:
        """Write the finished levels of a batch as a run in the folder of every song that nobody has changed since."""
        for part in self.step.folders:
            with self._song_folders.writing(part) as is_ours:
                if is_ours:
                    self._song_folders.write(part, state)

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

    def _write_steps(self) -> None:
        """Write the steps, the last of which begins, and remove windows in progress of those before it."""
        _check_can_be_written(self.steps, self.folder)
        write_steps(self.folder / REQUEST, self.steps)
        self._snapshots.clear_earlier_steps()

    def _begin_creation(self) -> None:
        """Mark the folder until it has its request, and remove the codes of a creation that was interrupted."""
        if (self.folder / _UNFINISHED).exists():
            for path in self.folder.glob("codes/level_*.safetensors"):
                path.unlink()
        (self.folder / _UNFINISHED).unlink(missing_ok=True)
        (self.folder / _UNFINISHED).open("x").close()  # fails on a link instead of following it
        sync_folder(self.folder)

    def _write_level(self, level: int, level_codes: LevelCodes) -> None:
        if any(level_codes.num_filled) or any(level_codes.seams):
            write_codes(codes_path(self.folder, level), level_codes, len(self.steps) - 1)


def _check_can_be_written(steps: list[RunStep], folder: Path) -> None:
    check_steps(steps, folder / REQUEST)
    request, model = steps[-1].request, steps[-1].model
    check_wav_length(request.top_codes * model.hop_lengths[-1], model.sampling_rate)


def check_no_run(folder: str | os.PathLike[str], song_names: Iterable[str] = ()) -> None:
    """Refuse a folder that holds a run, or files that a new run would use or replace, itself or in a song's folder.

    Args:
        song_names: Names of the folders of songs in it.

    Raises:
        FileExistsError: it does; the message says how to continue that run, or names a file.
    """
    for place in (Path(folder), *(Path(folder) / name for name in song_names)):
        if (place / REQUEST).exists():
            raise FileExistsError(f"{place} holds {_found(place)}, or give another folder for the new one.")
        own = _OWN_FILES[1:] if (place / _UNFINISHED).exists() else _OWN_FILES
        file = next((path for pattern in own for path in sorted(place.glob(pattern)) if path.is_file()), None)
        if file is not None:
            found = file.relative_to(place)
            raise FileExistsError(
                f"{place} holds no run but {found}, which a new run would take for its own or replace; move that away, "
                "or give another folder."
            )


def _found(place: Path) -> str:
    """Return what run a folder holds, and the command that goes on with it."""
    run = JukeboxRun.open(place)
    if not run.is_finished:
        return f"an unfinished run; continue it with: {shell_command('hf-jukebox', 'resume', place)}"
    if run.step.folders:
        song = shell_command("hf-jukebox", "continue", place / run.step.folders[0].name, "--seconds", "S")
        return f"a finished batch; extend one of its songs with: {song}"
    return f"a finished run; extend it with: {shell_command('hf-jukebox', 'continue', place, '--seconds', 'S')}"
