"""Console output of the commands: errors in the words of their options, the current task, and the result of a run."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypedDict

from rich.console import Console
from rich.text import Text

from ..console.errors import errors_as_one_line
from ..console.lines import is_first_process, is_terminal, write_error, write_line
from ..console.signals import work_to_keep
from ..files.text import shell_command
from ..runs.names import REQUEST
from ..sampling.options import SamplingOptions
from .checks import PROGRAM
from .listening import listening
from .options import ListenOptions, OutputOptions
from .progress import ProgressStyle, show_progress
from .values import option_name

if TYPE_CHECKING:
    from ..sampler import SamplingProgress
    from ..sampling.decode import AudioBlock


class Callbacks(TypedDict):
    """Arguments of the pipeline's methods that follow a run."""

    callback: Callable[[SamplingProgress], None]
    on_audio: Callable[[AudioBlock], None] | None


LOW_MEMORY = "sample fewer songs at a time with --max-batch-size, or try --dtype float16 or --low-memory"

# The option of each argument of the Python interface, where the two have different names.
_OPTIONS = {
    "audio_length_in_s": "--seconds",
    "prompt_length_in_s": "--prompt-seconds",
    "total_length_in_s": "--total-seconds",
    "offset_in_s": "--offset-seconds",
    "num_waveforms_per_prompt": "--num-samples",
    "generator": "--seed",
    "output_dir": "--output",
    "enable_model_cpu_offload()": "--low-memory",
}
# Arguments with options of the same name.
_SAME_NAME = {
    "compat",
    "dtype",
    "hparams",
    "ids",
    "layers",
    "low_memory",
    "pool",
    "revision",
    "windows",
    "preset",
    "token",
}
_SAME_NAME |= {"allow_other_vqvae", "artist", "genre", *SamplingOptions.__annotations__} - _OPTIONS.keys()
_ARGUMENT = re.compile(r"`([\w()]+)(?:=([^`]+))?`")


def command_errors(
    run_dir: Path | None = None, quiet: bool = False, *, on_stop: str | None = None, on_low_memory: str = LOW_MEMORY
) -> AbstractContextManager[None]:
    """End wrong input with one line in the words of the options, and Ctrl-C with the command that resumes `run_dir`.

    Args:
        on_stop: What to do after Ctrl-C, for a command without a run.
        on_low_memory: What to do when memory runs out.
    """

    def last_words() -> str:
        if on_stop is not None:
            return f"{PROGRAM}: stopped; {on_stop}."
        if run_dir is None or not (run_dir / REQUEST).is_file():
            return f"{PROGRAM}: stopped."
        return f"{PROGRAM}: stopped, nothing was lost; continue with: {command('resume', run_dir)}"

    return errors_as_one_line(
        PROGRAM,
        last_words=last_words,
        on_low_memory=on_low_memory,
        in_words=in_options,
        quiet=quiet,
        log_level=logging.INFO,  # the levels of a model that is converted
    )


def command(*words: str | Path) -> str:
    """Return a command of this program as it can be copied into a shell."""
    return shell_command(PROGRAM, *words)


def in_options(message: str) -> str:
    """Return a message of the Python interface in the words of the command line.

    The messages of the library have the names of arguments in backticks.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in _OPTIONS and name not in _SAME_NAME:
            return match[0]
        value = "" if value in (None, "True") else " " + value.strip("()[]'").rstrip(",").replace(" ", "")
        return _OPTIONS.get(name, option_name(name)) + value

    return _ARGUMENT.sub(option, message)


@contextmanager
def status(text: str, quiet: bool = False) -> Iterator[None]:
    """Show the current task: on a terminal a line that disappears at the end, else a line of the log."""
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
    """Return a console of stderr that shows text unchanged; a log file is none, even if FORCE_COLOR is set."""
    shown = is_terminal(sys.stderr)
    return Console(stderr=True, force_terminal=shown, highlight=False, markup=False, emoji=False, soft_wrap=True)


@contextmanager
def sampling_to(run_dir: Path, options: OutputOptions, listen: ListenOptions) -> Iterator[Callbacks]:
    """Yield callbacks that show the progress and let the run be heard, and print its files at the end.

    Only the first process does so.
    """
    started, style = time.monotonic(), options.style
    with work_to_keep():
        try:
            with listening(listen) as hear, show_progress(style, error_console()) as show:
                yield {"callback": show, "on_audio": hear}
        except BrokenPipeError:
            if listen.stream:
                write_error(f"{PROGRAM}: stopped, since nobody reads on; continue with: {command('resume', run_dir)}")
            raise
        except OSError as error:
            if not is_disk_full(error) or not (run_dir / REQUEST).is_file():
                raise
            advice = f"make room, then continue with: {command('resume', run_dir)}"
            raise OSError(f"{str(error).rstrip('.')}; {advice}") from error
        if style is not ProgressStyle.NONE:
            print_result(run_dir, style, started, sys.stderr if listen.stream else sys.stdout)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that there is no room on the disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return True
        error = error.__cause__
    return False


def print_result(run_dir: Path, style: ProgressStyle, started: float, results: TextIO) -> None:
    """Print the audio files of a run."""
    from ..runs.folder import JukeboxRun

    run = JukeboxRun.open(run_dir)
    audio = run.audio_paths()
    if style is ProgressStyle.JSON:
        paths = {str(level): [str(path) for path in level_paths] for level, level_paths in audio.items()}
        result = {"run": str(run_dir), "finished": run.is_finished, "audio": paths}
        if run.request.avoid is not None:
            result["avoided"] = {str(level): run.avoided(level) for level in run.request.levels}
        write_line(json.dumps(result))
    elif style is ProgressStyle.BAR:
        took, seconds_per_code = time.monotonic() - started, run.step.model.hop_lengths[-1] / run.sampling_rate
        lengths = sorted(run.song_length(song) * seconds_per_code for song in range(len(run.request.songs)))
        length = f"{lengths[0]:.2f} s" if lengths[0] == lengths[-1] else f"{lengths[0]:.2f} to {lengths[-1]:.2f} s"
        write_line(f"{run_dir}: {len(lengths)} x {length}, after {took:.1f} s of work:", results)
        for path in [path for level_paths in audio.values() for path in level_paths]:
            write_line(f"  {path}", results)
        if run.request.avoid is not None:
            write_line(run.avoided_in_words(), results)
