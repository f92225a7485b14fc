"""Uploads of a training run to the Hub, also of its checkpoints while it goes on, and resuming from them."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from pathlib import Path

from accelerate import PartialState
from huggingface_hub import HfApi, snapshot_download

from ..files.text import first_line, shell_command
from ..sharing.cards import Card
from ..sharing.upload import create_repository, iter_files, upload_folder
from .arguments import LoopArguments
from .checkpoint import STATE_FOLDER, is_complete

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(rf"(checkpoint-(\d+))/{STATE_FOLDER}/progress\.json")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_PUBLISHED = re.compile(r"config\.json|model[\w.-]*\.(safetensors|json)|adapter/[\w.-]+|curves\.png|README\.md")


def make_repository(arguments: LoopArguments) -> str:
    """Create the model's Hub repository unless it exists, and return its full name.

    Raises:
        OSError: there is no token, or the Hub rejects it or cannot be reached.
    """
    name = hub_name(arguments)
    try:
        return create_repository(HfApi(), name, private=arguments.hub_private_repo)
    except Exception as error:  # the types depend on the version of huggingface_hub
        raise OSError(
            f"The Hub repository {name} cannot be created ({first_line(error)}); log in with `hf auth login`, name "
            "another one with --hub_model_id, or leave out --push_to_hub."
        ) from error


def hub_name(arguments: LoopArguments) -> str:
    """Return the name of the model: its repository, or its folder."""
    return arguments.hub_model_id or Path(arguments.output_dir).resolve().name


def push_finished(folder: Path, repository: str, card: Card, samples: list[str]) -> str:
    """Upload the finished model, its card, curves and audio samples, and return the address of the commit.

    Args:
        samples: Paths of the audio samples in the folder.

    Raises:
        OSError: the upload failed; the folder is kept.
    """
    files = {name: path for name, path in iter_files(folder) if _PUBLISHED.fullmatch(name) or name in samples}
    files.pop("README.md", None)  # the card is that of this training
    try:
        return upload_folder(folder, repository, card, files=files, commit_message="Trained model")
    except OSError as error:
        again = shell_command("hf-jukebox", "push", folder, repository)
        raise OSError(
            f"The finished model could not be uploaded to the Hub ({first_line(error)}). It is in {folder}: upload it "
            f"with: {again}"
        ) from error


class CheckpointPusher:
    """Uploads of checkpoints in the background, the newest one at a time, each in place of the one before.

    If a checkpoint is written while another is uploaded, it waits; those between are skipped. A failed upload is a
    warning, and training goes on.

    Args:
        repository: Full name of the repository.
        card: Card of a model in training.
    """

    def __init__(self, repository: str, card: Card) -> None:
        self._repository = repository
        self._card = card
        self._lock = threading.Lock()
        self._next: Path | None = None
        self._current: Path | None = None
        self._thread: threading.Thread | None = None

    @property
    def in_use(self) -> set[Path]:
        """The checkpoints that are uploaded or wait for it, and must not be removed."""
        with self._lock:
            return {folder for folder in (self._next, self._current) if folder is not None}

    def push(self, checkpoint: Path) -> None:
        """Upload a checkpoint as soon as the one in progress is done."""
        with self._lock:
            self._next = checkpoint
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait until all is uploaded."""
        thread = self._thread  # which ends by setting it to None
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._current, self._next = self._next, None
                if self._current is None:
                    self._thread = None
                    return
                folder = self._current
            try:
                push_checkpoint(folder, self._repository, self._card)
                logger.info("Uploaded %s to %s.", folder.name, self._repository)
            except OSError as error:
                logger.warning("%s", error)


def push_checkpoint(folder: Path, repository: str, card: Card) -> str:
    """Upload a checkpoint as one commit, which removes earlier ones, and return the address of the commit.

    Raises:
        OSError: the upload failed.
    """
    files = {f"{folder.name}/{name}": path for name, path in iter_files(folder)}
    return upload_folder(
        folder,
        repository,
        card,
        files=files,
        commit_message=f"Checkpoint of step {folder.name.removeprefix('checkpoint-')}",
        delete=lambda path: path.startswith("checkpoint-"),
    )


def fetch_checkpoint(arguments: LoopArguments) -> None:
    """Download the newest checkpoint of the repository that `--resume_from_checkpoint` names, if it names one.

    It is then in the output folder, and named by the arguments.

    Raises:
        OSError: there is no such repository, or no checkpoint in it.
    """
    wanted, output = arguments.resume_from_checkpoint, Path(arguments.output_dir)
    if wanted is None or Path(wanted).is_dir() or (output / wanted).is_dir() or not _REPOSITORY.fullmatch(wanted):
        return
    with PartialState().local_main_process_first():
        arguments.resume_from_checkpoint = _fetch_newest(wanted, output)


def _fetch_newest(repository: str, output: Path) -> str:
    try:
        found = [match for path in HfApi().list_repo_files(repository) if (match := _CHECKPOINT.fullmatch(path))]
        if not found:
            raise OSError(
                f"{repository} holds no checkpoint; name another one, or push them with --hub_strategy every_save"
            )
        name = max(found, key=lambda match: int(match[2]))[1]
        if not is_complete(output / name):
            unfinished = output / ".hub"  # kept if the download is interrupted, and continued
            snapshot_download(repository, allow_patterns=f"{name}/*", local_dir=unfinished)
            shutil.rmtree(output / name, ignore_errors=True)
            os.replace(unfinished / name, output / name)
            shutil.rmtree(unfinished)
        return name
    except Exception as error:  # the types depend on the version of huggingface_hub
        raise OSError(f"The checkpoint of {repository} could not be downloaded: {first_line(error)}.") from error
