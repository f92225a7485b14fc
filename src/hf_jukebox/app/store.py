"""Runs on disk as the app sees them: folders of one folder, each with a small file about its place in the queue."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from ..audio import audio_info
from ..files.atomic import locked, replacing
from ..runs.contents import RunReader
from ..runs.names import REQUEST, check_song_folder
from ..runs.song_files import SongFile
from .peaks import file_peaks
from .schemas import EXAMPLE, Job
from .settings import AppSettings

EXAMPLE_PROMPT = Path(__file__).parents[1] / "demo" / "prompt.wav"
JOB, _UPLOADS = "job.json", ".uploads"
_MOST_JOB_BYTES = 2**20
_PROMPT_ID = re.compile(r"[0-9a-f]{32}")
_OLDEST_UPLOAD_IN_S = 7 * 24 * 3600
_MOST_UPLOADS = 10  # times the size of the largest that is allowed


class NotFoundError(ValueError):
    """Error for a run, prompt or file that does not exist."""


class RunStore:
    """The runs in a folder.

    Args:
        settings: Settings of the server.
    """

    def __init__(self, settings: AppSettings) -> None:
        self.settings = settings
        self.folder = settings.runs
        self.folder.mkdir(parents=True, exist_ok=True)
        self._unwritten: dict[str, Job] = {}
        self._remove_old_uploads()

    # Runs ----------------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the ids of all runs, the newest first."""
        found = []
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if self._is_run(entry.name):
                    found.append((entry.stat().st_ctime, entry.name))
        return [name for _, name in sorted(found, reverse=True)]

    def path(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises:
            NotFoundError: there is none; an id never leads out of the folder.
        """
        if not self._is_run(run_id):
            raise NotFoundError(f"There is no run {run_id[:60]!r} here.")
        return self.folder / run_id

    def new(self, job: Job) -> str:
        """Make the folder of a run, and return its id."""
        return self._new(job, Path.mkdir)

    def new_song(self, song: SongFile, job: Job) -> str:
        """Write the song of a file as a run, and return its id.

        Raises:
            OSError: it cannot be written.
            ValueError: its codes do not belong to its settings.
        """
        return self._new(job, song.write_run)

    def _new(self, job: Job, make: Callable[[Path], object]) -> str:
        for _ in range(10):
            run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            try:
                make(self.folder / run_id)
            except FileExistsError:
                continue
            try:
                self.write_job(run_id, job)
            except OSError:
                self.discard(run_id)
                raise
            return run_id
        raise OSError(f"{self.folder} takes no more runs; try again.")

    def delete(self, run_id: str) -> None:
        """Remove a run.

        Raises:
            OSError: another process works on it.
        """
        folder = self.path(run_id)
        with locked(folder):  # held by a command that works on it
            pass
        gone = self.folder / f".deleted-{run_id}-{secrets.token_hex(4)}"
        os.replace(folder, gone)  # at once, so that no half of it is seen
        self._unwritten.pop(run_id, None)
        shutil.rmtree(gone)

    def discard(self, run_id: str) -> None:
        """Remove what there is of a run that could not be made."""
        shutil.rmtree(self.folder / run_id, ignore_errors=True)

    def open(self, run_id: str) -> RunReader | None:
        """Read a run; None if it has not begun.

        Raises:
            OSError, ValueError: it is damaged.
        """
        folder = self.path(run_id)
        return RunReader.open(folder) if (folder / REQUEST).is_file() else None

    def job(self, run_id: str) -> Job:
        """Read what the app keeps about a run; a run from the command line has only its name."""
        path = self.path(run_id) / JOB
        if (unwritten := self.unwritten(run_id)) is not None:
            return unwritten
        try:
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _MOST_JOB_BYTES:
                return Job.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            pass
        return Job(title=run_id)

    def write_job(self, run_id: str, job: Job) -> None:
        """Write what the app keeps about a run, atomically."""
        with replacing(self.folder / run_id / JOB) as unfinished:
            unfinished.write_text(job.model_dump_json(indent=2, exclude_defaults=True) + "\n", encoding="utf-8")
        self._unwritten.pop(run_id, None)

    def keep_unwritten(self, run_id: str, job: Job) -> None:
        """Keep in memory what cannot be written about a run, until it can be or the server ends."""
        self._unwritten[run_id] = job

    def unwritten(self, run_id: str) -> Job | None:
        """Return what is kept in memory about a run, if anything."""
        return self._unwritten.get(run_id)

    def branch(self, run_id: str, step: int) -> str:
        """Copy an earlier step of a run, as it was before a pick, to a run of its own; return its id.

        Raises:
            NotFoundError: the step was not kept.
        """
        source, job = self.path(run_id), self.job(run_id)
        kept = source / "earlier" / str(step)
        if kept.is_symlink() or not (kept / REQUEST).is_file():
            raise NotFoundError(f"Step {step} of the run {run_id} was not kept; only those before a pick are.")
        new_id = self.new(Job(title=job.title, created=time.time(), parent=run_id, prompt=job.prompt))
        target = self.folder / new_id
        shutil.copytree(kept, target, symlinks=True, dirs_exist_ok=True)
        for number in range(step):
            if (earlier := source / "earlier" / str(number)).is_dir():
                shutil.copytree(earlier, target / "earlier" / str(number), symlinks=True)
        if (source / "prompt").is_dir():
            shutil.copytree(source / "prompt", target / "prompt", symlinks=True)
        return new_id

    def _is_run(self, name: str) -> bool:
        try:
            check_song_folder(name)
            name.encode()  # a name that is not UTF-8 has no address
        except ValueError:
            return False
        folder = self.folder / name
        return not folder.is_symlink() and any((folder / file).is_file() for file in (JOB, REQUEST))

    # Prompts -------------------------------------------------------------------------------------------------------

    def new_upload(self) -> tuple[str, Path]:
        """Return an id and a path for a recording that is about to be uploaded."""
        prompt_id = secrets.token_hex(16)
        folder = self.folder / _UPLOADS / prompt_id
        folder.mkdir(parents=True)
        return prompt_id, folder / "upload"

    def keep_upload(self, path: Path, name: str) -> tuple[str, float, list[int]]:
        """Check an uploaded recording and give it its name; return the name, its length in seconds and its peaks.

        Raises:
            ValueError: it is not audio, or too long.
        """
        name = _file_name(name)
        limit = self.settings.max_prompt_seconds
        try:
            info = audio_info(path)
            seconds = info.duration_in_s
            peaks = file_peaks(path, info) if seconds <= limit else []  # reads all of it
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name} is not a recording that can be read; give a wav, flac, ogg or mp3 file."
            ) from error
        if seconds > limit:
            raise ValueError(
                f"{name} lasts {seconds:.0f} s; give at most {limit:.0f} s, or change --max-prompt-seconds."
            )
        os.replace(path, path.with_name(name))
        self._drop_oldest_uploads(path.parent)
        return name, seconds, peaks

    def drop_upload(self, path: Path) -> None:
        """Remove an upload that was cut off or refused."""
        shutil.rmtree(path.parent, ignore_errors=True)

    def prompt(self, prompt_id: str) -> Path:
        """Return the path of an uploaded prompt, or of the shipped one.

        Raises:
            NotFoundError: there is none.
        """
        if prompt_id == EXAMPLE:
            return EXAMPLE_PROMPT
        folder = self.folder / _UPLOADS / prompt_id
        found = list(folder.iterdir()) if _PROMPT_ID.fullmatch(prompt_id) and folder.is_dir() else []
        if len(found) != 1 or found[0].name == "upload":
            raise NotFoundError("There is no such prompt; upload it again.")
        return found[0]

    def give_prompt(self, run_id: str, prompt_id: str) -> str:
        """Copy a prompt into the folder of a run, and return its name."""
        source = self.prompt(prompt_id)
        if source != EXAMPLE_PROMPT:
            os.utime(source.parent)  # it was used now
        folder = self.folder / run_id / "prompt"
        folder.mkdir()
        shutil.copyfile(source, folder / source.name)
        return source.name

    def run_prompt(self, run_id: str) -> Path | None:
        """Return the prompt of a run, if it has one."""
        name = self.job(run_id).prompt
        path = self.path(run_id) / "prompt" / _file_name(name)
        return path if name and path.is_file() and not path.is_symlink() else None

    def _drop_oldest_uploads(self, newest: Path) -> None:
        """Remove the uploads that were used longest ago, until all together are within the limit."""
        uploads = []
        for folder in (self.folder / _UPLOADS).iterdir():
            with suppress(OSError):  # dropped meanwhile
                size = sum(file.stat().st_size for file in folder.iterdir())
                uploads.append((folder.stat().st_mtime, size, folder))
        room = _MOST_UPLOADS * self.settings.max_upload_bytes - sum(size for _, size, _ in uploads)
        for _, size, folder in sorted(uploads):
            if room >= 0:
                return
            if folder != newest and not (folder / "upload").exists():  # which is still received
                shutil.rmtree(folder, ignore_errors=True)
                room += size

    def _remove_old_uploads(self) -> None:
        folder = self.folder / _UPLOADS
        for upload in folder.iterdir() if folder.is_dir() else ():
            is_cut_off = (upload / "upload").exists()
            if is_cut_off or time.time() - upload.stat().st_mtime > _OLDEST_UPLOAD_IN_S:
                shutil.rmtree(upload, ignore_errors=True)


def pending_ids(store: RunStore) -> Iterator[str]:
    """Yield the runs that wait for work, in the order in which they were queued."""
    waiting = [(job.pending.queued, run_id) for run_id in store.ids() if (job := store.job(run_id)).pending
               and not job.stopped and not job.error]  # fmt: skip
    yield from (run_id for _, run_id in sorted(waiting))


def _file_name(name: str) -> str:
    """Return the last part of a name if it can name a file on every system, else `prompt`."""
    last = re.split(r"[/\\]", name)[-1]
    try:
        check_song_folder(last)
    except ValueError:
        return "prompt"
    return last if last != "upload" else "prompt"
