"""How the commands speak: the words of their options, what they are at, and what came of a run."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .. import DEMO_MODEL, __version__
from ..console.errors import errors_as_one_line
from ..console.lines import is_first_process, write_error, write_line
from ..console.quiet import hush_libraries
from ..files.text import user_path
from .devices import find_device
from .progress import ProgressStyle

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline

logger = logging.getLogger(__name__)

PROGRAM, VERSION = "hf-jukebox", __version__
LOW_MEMORY = "draw fewer songs at a time with --max-batch-size, or try --dtype float16 or --low-memory"
REQUEST = "request.json"

# What the commands call an argument of the Python interface.
_OPTIONS = {
    "audio_length_in_s": "--seconds",
    "prompt_length_in_s": "--prompt-seconds",
    "total_length_in_s": "--total-seconds",
    "offset_in_s": "--offset-seconds",
    "num_waveforms_per_prompt": "--num-samples",
    "num_samples": "--num-samples",
    "max_batch_size": "--max-batch-size",
    "hop_fraction": "--hop-fraction",
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "upsampling": "--upsampling",
    "levels": "--levels",
    "dtype": "--dtype",
    "revision": "--revision",
    "generator": "--seed",
    "output_dir": "--output",
    "hparams": "--hparams",
    "ids": "--ids",
}
# Words that are English too are options only where a value is given to them.
_WORDS = {"temperature", "upsampling", "levels", "dtype", "revision", "generator", "hparams", "ids"}
_UNDERSCORED = "|".join(name for name in _OPTIONS if name not in _WORDS)
_WITH_VALUE = re.compile(rf"(?<![\w/\\.\-'\"])({'|'.join(_OPTIONS)})=(\([^)]*\)|\[[^]]*\]|'[^']*'|[\w.+-]*\w)")
_ALONE = re.compile(rf"(?<![\w/\\.\-'\"])({_UNDERSCORED})(?![\w/\\\-'\"]|\.\w)")

_AT_START = re.compile(rf"^({'|'.join(_WORDS)})(?= (?:is|must|needs|takes)\b)")


def command_errors(run_dir: Path | None = None, quiet: bool = False) -> AbstractContextManager[None]:
    """Let wrong input end in one line in the options' words, and Ctrl-C say how to resume the run in `run_dir`."""

    def last_words() -> str:
        if run_dir is None or not (run_dir / REQUEST).is_file():
            return f"{PROGRAM}: stopped."
        return f"{PROGRAM}: stopped; nothing is lost, go on with: {command('resume', run_dir)}"

    return errors_as_one_line(
        PROGRAM, last_words=last_words, on_low_memory=LOW_MEMORY, in_words=in_options, quiet=quiet
    )


def command(*words: str | Path) -> str:
    """Return a command of ours as it can be copied into a shell."""
    return shlex.join([PROGRAM, *map(str, words)])


def in_options(message: str) -> str:
    """Return a message of the Python interface in the words of the command line."""

    def with_value(match: re.Match[str]) -> str:
        value = match[2].strip("()[]'").rstrip(",").replace(" ", "")
        return f"{_OPTIONS[match[1]]} {value}"

    message = _AT_START.sub(lambda match: _OPTIONS[match[1]], message).replace(" to levels", " to --levels")
    message = re.sub(r"(?<![\w/\\.\-'\"])low_memory(=True)?(?![\w/\\\-'\"]|\.\w)", "--low-memory", message)
    message = message.replace("enable_model_cpu_offload()", "--low-memory")
    return _ALONE.sub(lambda match: _OPTIONS[match[1]], _WITH_VALUE.sub(with_value, message))


@contextmanager
def status(text: str, quiet: bool = False) -> Iterator[None]:
    """Say what the command is at while it is at it: a line that goes again on a terminal, else a line."""
    console = error_console()
    if quiet or not is_first_process():
        yield
    elif console.is_terminal:
        with console.status(Text(text)):
            yield
    else:
        write_error(text)
        yield


def error_console() -> Console:
    """Return a console of stderr that shows everything as it is."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def check_model(model: str | None, revision: str | None = None) -> None:
    """Refuse a place that holds no pipeline, before anything is imported that loads one.

    Raises:
        ValueError: a folder cannot have the revision.
        OSError: there is no pipeline; the message says what there is.
    """
    if revision is not None and (model is None or user_path(model).is_dir()):
        what = "The demo model" if model is None else model
        raise ValueError(f"{what} is no Hub repository, which alone has revisions; leave --revision out.")
    if model is not None:
        from ..loading.sources import check_pipeline_source

        check_pipeline_source(model, {"revision": revision})


def is_path(model: str) -> bool:
    """Return whether a model is named by its path: a name on the Hub is one word, or two around a slash."""
    return user_path(model).is_file() or re.fullmatch(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", model, re.ASCII) is None


def check_device(device: str | None) -> str | None:
    """Return torch's name of the device that is asked for, if one is.

    Raises:
        ValueError: there is no such device here.
    """
    return None if device is None else find_device(device)


def load_pipeline(
    model: str | None,
    device: str | None,
    dtype: str | None,
    *,
    compile_step: bool = False,
    low_memory: bool = False,
    revision: str | None = None,
) -> JukeboxPipeline:
    """Load the pipeline onto a device, by default the best there is, in half precision on a GPU unless asked otherwise.

    Where all its models do not fit into the device's memory together, they take turns there.
    """
    import torch

    from .. import JukeboxPipeline
    from ..memory.batch_size import free_bytes, weight_bytes
    from ..sampling.compiled import check_compiler
    from ..sampling.processes import device_of_process

    hush_libraries()  # the imports have set levels of their own
    if device is None:
        device = device_of_process() or find_device(None)
    dtype = dtype or ("float16" if device.startswith("cuda") else "float32")
    if compile_step and device == "cpu":
        check_compiler()
    source = DEMO_MODEL if model is None else str(user_path(model)) if user_path(model).is_dir() else model
    options = {} if revision is None else {"revision": revision}
    pipeline = JukeboxPipeline.from_pretrained(source, dtype=dtype, low_memory=low_memory, **options)
    pipeline.set_progress_bar_config(disable=True)
    if compile_step:
        pipeline.compile()
    place = torch.device(device)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    if low_memory or place.type == "cpu" or sum(map(weight_bytes, parts)) <= 0.8 * free_bytes(place):
        return pipeline.to(place)
    if is_first_process():
        logger.warning("The models do not fit on %s together; they take turns there.", device)
    pipeline.enable_model_cpu_offload(device=place)
    return pipeline


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before hours are spent on what belongs there.

    Raises:
        OSError: it is a file, or cannot be written to.
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise OSError(f"{existing} is a file; give --output a folder.")
    try:
        probe = existing / f".hf-jukebox-{os.getpid()}-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{existing} cannot be written to; give --output another folder.") from error


def check_files(paths: Iterable[Path]) -> None:
    """Refuse names of files that are not there, before anything is imported that reads them.

    Raises:
        FileNotFoundError: which one.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}; check its name.")


def check_no_run(folder: Path) -> None:
    """Refuse a folder that holds a run, before a model is loaded; several processes leave that to the pipeline.

    Raises:
        FileExistsError: it does; the message says how to go on with it.
    """
    if (folder / REQUEST).exists() and "LOCAL_RANK" not in os.environ:
        from ..runs.folder import check_free

        check_free(folder)


def check_run(folder: Path) -> None:
    """Refuse a folder that holds no run, before anything is imported that reads one.

    Raises:
        FileNotFoundError: there is no run.
    """
    if not (folder / REQUEST).is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {REQUEST}; draw one with {PROGRAM} sample.")


def print_result(run_dir: Path, style: ProgressStyle, started: float) -> None:
    """Say where the audio of a run is."""
    from ..runs.folder import JukeboxRun

    run = JukeboxRun.open(run_dir)
    audio = run.audio_paths()
    if style is ProgressStyle.JSON:
        paths = {str(level): [str(path) for path in of_level] for level, of_level in audio.items()}
        write_line(json.dumps({"run": str(run_dir), "finished": run.is_finished, "audio": paths}))
    elif style is ProgressStyle.BAR:
        took, second = time.monotonic() - started, run.step.model.hop_lengths[-1] / run.sampling_rate
        lengths = sorted(run.song_length(song) * second for song in range(len(run.request.songs)))
        length = f"{lengths[0]:.2f} s" if lengths[0] == lengths[-1] else f"{lengths[0]:.2f} to {lengths[-1]:.2f} s"
        write_line(f"{run_dir}: {len(lengths)} x {length}, after {took:.1f} s of work:")
        for path in [path for of_level in audio.values() for path in of_level]:
            write_line(f"  {path}")
