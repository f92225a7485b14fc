"""Models, files and folders that options name, checked before anything slow is imported or loaded."""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files.text import user_path
from ..runs.names import REQUEST
from .devices import find_device
from .options import ModelOptions
from .values import check_choices

PROGRAM = "hf-jukebox"
_LONGEST_CODE = 0.1  # seconds that one top-level code takes at most


def check_model(model: str | None, revision: str | None = None) -> None:
    """Check that there is a pipeline to load, before anything is imported that loads one.

    Raises:
        ValueError: a revision is given for a folder.
        OSError: there is no pipeline; the message says what is there.
    """
    if revision is not None and (model is None or user_path(model).is_dir()):
        name = "The demo model" if model is None else model
        raise ValueError(f"{name} is not a Hub repository and has no revisions; leave --revision out.")
    if model is not None:
        from ..loading.sources import check_pipeline_source

        check_pipeline_source(model, {"revision": revision})


def read_adapters(lora: Sequence[str] | None) -> list[tuple[str, float]]:
    """Return the adapters of `--lora`, each with its strength, 1 by default.

    Raises:
        ValueError: a strength is not a number.
        FileNotFoundError: there is no such folder.
    """
    adapters = []
    for text in lora or ():
        source, separator, number = text.rpartition(":")
        if not separator or re.match(r"[/\\]", number):  # C:\\adapter is a path
            source, number = text, "1"
        try:
            strength = float(number)
        except ValueError:
            strength = math.nan
        if not source or not math.isfinite(strength):
            raise ValueError(f"--lora takes a folder or Hub repository, and a number after a colon; not {text!r}.")
        path = user_path(source)
        if not path.is_dir() and (path.is_absolute() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", source)):
            raise FileNotFoundError(f"There is no folder {source}; check its name.")
        adapters.append((source, strength))
    return adapters


def check_run(run_dir: Path) -> None:
    """Check that a folder holds a run, before anything is imported that reads one.

    Raises:
        FileNotFoundError: there is no run.
    """
    if not (run_dir / REQUEST).is_file():
        raise FileNotFoundError(f"{run_dir} holds no run: there is no {REQUEST}; make one with {PROGRAM} sample.")


def check_run_and_model(run_dir: Path, options: ModelOptions) -> str | None:
    """Check a run and the options of its model; return the device by torch's name, if one is given.

    Raises:
        OSError, ValueError: there is no such run, model or device.
    """
    check_run_model(options)
    check_run(run_dir)
    return find_given_device(options.device)


def check_run_model(options: ModelOptions) -> None:
    """Check the options of the model of a run, which may name another than the recorded one.

    Raises:
        OSError, ValueError: there is no such model, or no such device or precision.
    """
    if options.revision is not None and options.model is None:
        raise ValueError("--revision needs a Hub repository; name it with --model.")
    check_model_options(options)


def check_model_options(options: ModelOptions) -> None:
    """Check the options of a model before torch is imported.

    Raises:
        OSError, ValueError: there is no such model, device, precision or adapter.
    """
    check_choices(options.device, options.dtype)
    read_adapters(options.lora)
    check_model(options.model, options.revision)


def find_given_device(device: str | None) -> str | None:
    """Return torch's name of a device, if one is given.

    Raises:
        ValueError: this machine has no such device.
    """
    return None if device is None else find_device(device)


def check_no_run(folder: Path) -> None:
    """Check that a folder holds no run, before a model is loaded; with several processes the pipeline checks it.

    Raises:
        FileExistsError: there is a run; the message names the command that continues it.
    """
    if (folder / REQUEST).exists() and "LOCAL_RANK" not in os.environ:
        from ..runs import folder as run_folder

        run_folder.check_no_run(folder)


def check_writable(folder: Path, option: str = "--output") -> None:
    """Check that a folder can be written to, before hours are spent on its content.

    Args:
        option: The option that names it.

    Raises:
        OSError: it is a file or a link to nothing, or cannot be written to.
    """
    try:
        existing = next(
            parent for parent in (folder, *folder.absolute().parents) if parent.exists() or parent.is_symlink()
        )
    except OSError as error:  # a name may be too long
        raise OSError(f"{folder} cannot be written to: {error.strerror}; give {option} another folder.") from error
    if existing.is_symlink() and not existing.exists():
        raise OSError(f"{existing} is a link to nothing; remove it, or give {option} another folder.")
    if not existing.is_dir():
        raise OSError(f"{existing} is a file; give {option} a folder.")
    try:
        probe = existing / f".{PROGRAM}-{os.getpid()}-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{existing} cannot be written to; give {option} another folder.") from error


def unused_folder(name: str) -> Path:
    """Return the folder of this name, with the first free number appended if it exists."""
    names = (Path(name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in names if not folder.exists())


def check_files(paths: Iterable[Path]) -> None:
    """Check that files exist, before anything is imported that reads them.

    Raises:
        FileNotFoundError: one does not; the message names it.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}; check its name.")


def check_catalogue(folder: Path, longest_in_s: float | None = None) -> None:
    """Check that a folder holds a catalogue, and the length of agreements, before a model is loaded.

    Raises:
        OSError, ValueError: there is none, or no catalogue can limit agreements to that length.
    """
    if longest_in_s is not None and not 0 < longest_in_s < math.inf:
        raise ValueError(f"--longest-in-s must be a number of seconds above 0, not {longest_in_s:g}.")
    from ..catalogue.folder import open_catalogue

    open_catalogue(folder)


def check_codes(folders: Iterable[Path]) -> None:
    """Check that folders hold codes of data sets, before anything is imported that reads them.

    Raises:
        FileNotFoundError: one does not; the message names it.
    """
    for folder in folders:
        if not (folder / "index.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished codes (index.json is missing); run hf-jukebox encode first."
            )


def check_prompts(prompts: Sequence[str | Path]) -> None:
    """Check that recordings can be read, before the model is loaded.

    Raises:
        OSError, ValueError: one cannot.
    """
    for path in map(Path, prompts):
        if re.match(r"https?:/", str(path)):
            raise ValueError(f"{path.name} is not fetched from its address; download it, and give the file.")
        if str(path) == "-" or path.is_fifo() or path.is_char_device():
            raise ValueError(f"{path} is no file, but recordings are read more than once; save it as a file first.")
    check_files([Path(prompt) for prompt in prompts])
    if prompts:
        from ..audio import audio_info

        for prompt in prompts:
            if not audio_info(prompt).frames:
                raise ValueError(f"{prompt} has no samples; give another recording.")


def check_prompt_length(prompts: Sequence[Path], prompt_seconds: float | None, seconds: float | None) -> None:
    """Check that the piece is longer than the prompts' starts that are to be used; the model counts in codes.

    Raises:
        ValueError: a prompt is longer.
    """
    if prompt_seconds is None or seconds is None or prompt_seconds < seconds + _LONGEST_CODE:
        return
    from ..audio import audio_info

    for prompt in prompts:
        if audio_info(prompt).duration_in_s >= seconds + _LONGEST_CODE:
            raise ValueError(
                f"The prompt of {prompt_seconds:g} s is longer than the piece of {seconds:g} s; set a smaller "
                "--prompt-seconds, or a larger --seconds."
            )
