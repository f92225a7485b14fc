"""Options and paths, read and checked before anything slow is imported or loaded."""

from __future__ import annotations

import itertools
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.text import read_text, user_path
from ..runs.names import REQUEST
from ..sampling.options import SamplingSettings, check_hop_fraction
from .devices import check_device_name, check_dtype, find_device
from .options import PER_LEVEL, LabelOptions, ModelOptions, level_options

PROGRAM = "hf-jukebox"

_MOST_LEVELS = 3  # that a pipeline may have
_SEEDS = range(-(2**63), 2**64)  # that torch's generators take


# ---------------------------------------------------------------------------------------------------------- values


def read_level_options(given: Mapping[str, str | None]) -> dict[str, Any]:
    """Read the options with one value for all levels or one per level; leave out those that are not given.

    Raises:
        ValueError: a value is not a number, or out of range.
    """
    values = {
        name: _numbers(option_name(name), text, kind)
        for name, (kind, _) in level_options().items()
        if (text := given.get(name)) is not None
    }
    for level in range(_MOST_LEVELS):
        settings: dict[str, Any] = {name: _at_level(numbers, level) for name, numbers in values.items()}
        check_hop_fraction(settings.pop("hop_fraction", None))
        SamplingSettings(**{name: value for name, value in settings.items() if value is not None})
    return {name: numbers[0] if len(numbers) == 1 else numbers for name, numbers in values.items()}


def read_levels(levels: str | None) -> list[int] | None:
    """Return the levels that `--levels` names.

    Raises:
        ValueError: one of them is not a level that a pipeline can have.
    """
    if levels is None:
        return None
    try:
        numbers = [int(part) for part in levels.split(",")]
    except ValueError:
        numbers = [-1]
    if not set(numbers) <= set(range(_MOST_LEVELS)):
        last = _MOST_LEVELS - 1
        raise ValueError(
            f"--levels takes numbers from 0, the finest, to {last}, such as {last} or {last},1; not {levels!r}."
        )
    return numbers


def read_labels(options: LabelOptions) -> dict[str, Any]:
    """Return the labels that are given, by their names in Python.

    Raises:
        OSError, ValueError: the length is out of range, the lyrics are given twice, or their file cannot be read.
    """
    check_numbers(total_seconds=options.total_seconds)
    labels = {
        "artist": options.artist,
        "genre": options.genre,
        "lyrics": read_lyrics(options.lyrics, options.lyrics_file),
        "total_length_in_s": options.total_seconds,
    }
    return {name: value for name, value in labels.items() if value is not None}


def read_lyrics(lyrics: str | None, lyrics_file: Path | None) -> str | None:
    r"""Return lyrics from either option; `\n` typed on the command line begins a new line.

    Raises:
        OSError, ValueError: both are given, or the file cannot be read.
    """
    if lyrics_file is None:
        return None if lyrics is None else lyrics.replace(r"\n", "\n")
    if lyrics is not None:
        raise ValueError("Give the lyrics as --lyrics or as --lyrics-file, not both.")
    return read_text(lyrics_file)


def repeat_prompts(prompts: Sequence[Path], num_samples: int | None) -> list[Path]:
    """Repeat the prompts in turn, up to the number of songs to sample; by default one song per prompt.

    Raises:
        ValueError: some prompts would be used more often than others.
    """
    count = len(prompts) if num_samples is None else num_samples
    if count % len(prompts):
        few = len(prompts)
        raise ValueError(
            f"--num-samples {count} cannot be divided evenly among {few} prompts; give a multiple of {few}, such as "
            f"{few} or {2 * few}."
        )
    return list(prompts) * (count // len(prompts))


def check_numbers(
    *,
    seconds: float | None = None,
    prompt_seconds: float | None = None,
    total_seconds: float | None = None,
    offset_seconds: float = 0.0,
    num_samples: int | None = None,
    max_batch_size: int | None = None,
    seed: int | None = None,
) -> None:
    """Check lengths, counts and seeds without a model.

    Raises:
        ValueError: no model can work with a value.
    """
    lengths = {"--seconds": seconds, "--prompt-seconds": prompt_seconds, "--total-seconds": total_seconds}
    for name, length in lengths.items():
        if length is not None and not 0 < length < math.inf:
            raise ValueError(f"{name} must be a number of seconds above 0, not {length:g}.")
    if not 0 <= offset_seconds < math.inf:
        raise ValueError(f"--offset-seconds must be a number of seconds, at least 0, not {offset_seconds:g}.")
    for name, count in {"--num-samples": num_samples, "--max-batch-size": max_batch_size}.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}.")
    if seed is not None and seed not in _SEEDS:
        raise ValueError(f"--seed must be at least -2**63 and less than 2**64, not {seed}.")


def check_choices(device: str | None, dtype: str | None, upsampling: str = "sequential") -> None:
    """Check the names of a device, a precision and a way of upsampling, without importing torch.

    Raises:
        ValueError: there is no such name; the message lists the names.
    """
    check_device_name(device)
    check_dtype(dtype)
    if upsampling not in ("sequential", "parallel"):
        raise ValueError(f"--upsampling must be sequential or parallel, not {upsampling!r}.")


def refuse_with_requests(**given: Any) -> None:
    """Refuse options that a file of songs sets itself.

    Raises:
        ValueError: one of them is given.
    """
    names = [option_name(name) for name, value in given.items() if value]
    if names:
        raise ValueError(f"{', '.join(names)} cannot be combined with --requests; set it per song in the file.")


def option_name(name: str) -> str:
    """Return the option of a parameter: `--top-k` for `top_k`."""
    return f"--{name.replace('_', '-')}"


# ----------------------------------------------------------------------------------------------- files and folders


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


def check_writable(folder: Path) -> None:
    """Check that a folder can be written to, before hours are spent on its content.

    Raises:
        OSError: it is a file, or cannot be written to.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise OSError(f"{existing} is a file; give --output a folder.")
    try:
        probe = existing / f".{PROGRAM}-{os.getpid()}-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{existing} cannot be written to; give --output another folder.") from error


def free_folder(name: str) -> Path:
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
                f"{folder} holds no finished codes (index.json is missing); run examples/encode_dataset.py first."
            )


def check_prompts(prompts: Sequence[str | Path]) -> None:
    """Check that recordings can be read, before the model is loaded.

    Raises:
        OSError, ValueError: one cannot.
    """
    check_files([Path(prompt) for prompt in prompts])
    if prompts:
        from ..audio import audio_info

        for prompt in prompts:
            audio_info(prompt)


def _at_level(numbers: Sequence[float], level: int) -> float | None:
    """Return the number of a level; a single number is for all levels."""
    return numbers[0] if len(numbers) == 1 else dict(enumerate(numbers)).get(level)


def _numbers(option: str, text: str, kind: type[Any]) -> list[int | float]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= _MOST_LEVELS:
        raise ValueError(f"{option} takes {PER_LEVEL}, not {text!r}.")
    return numbers
