"""How the commands speak: errors, the progress of a run, and what came of it."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from .drawing import SamplingProgress
    from .pipeline_jukebox import JukeboxPipeline

console = Console(highlight=False)
_SECONDS_BETWEEN_LINES = 1.0


class ProgressStyle(StrEnum):
    """How a run shows how far it is."""

    BAR = "bar"
    JSON = "json"
    NONE = "none"


def is_first_process() -> bool:
    """Whether this process speaks; launchers tell each of several that draw together its number."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def errors_as_one_line(run_dir: Path | None = None) -> Iterator[None]:
    """Wrong input ends in one line on stderr and exit status 2; Ctrl-C says how to go on with the run in `run_dir`.

    What the package warns of is a line as well, without the place in its source.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, otherwise=warnings.showwarning)
            yield
    except (ValueError, OSError, MemoryError) as error:
        # All processes meet what is wrong with the input, each its own lack of memory.
        if is_first_process() or isinstance(error, MemoryError):
            print(f"hf-jukebox: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        resumable = run_dir is not None and (run_dir / "request.json").is_file()
        how = f"; nothing is lost, go on with: hf-jukebox resume {run_dir}" if resumable else "."
        if is_first_process():
            print(f"hf-jukebox: stopped{how}", file=sys.stderr)
        raise typer.Exit(130) from None


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, *place: Any, otherwise: Callable[..., None]
) -> None:
    if not Path(filename).is_relative_to(Path(__file__).parent):
        otherwise(message, category, filename, *place)
    elif is_first_process():
        print(f"hf-jukebox: {message}", file=sys.stderr)


def load_pipeline(
    model: str | None, device: str | None, dtype: str | None, compile_step: bool = False
) -> JukeboxPipeline:
    """The pipeline on the device, in half precision on a GPU unless asked otherwise.

    Where all its models do not fit into the device's memory together, they take turns there.
    """
    import torch

    from . import DEMO_MODEL, JukeboxPipeline
    from .runs.memory import free_bytes, weight_bytes
    from .sampling.processes import device_of_process

    if device is None:
        device = device_of_process()
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if dtype is None:
        dtype = "float16" if device.startswith("cuda") else "float32"
    pipeline = JukeboxPipeline.from_pretrained(DEMO_MODEL if model is None else model, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    if compile_step:
        pipeline.compile()
    place = torch.device(device)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    if place.type != "cpu" and sum(map(weight_bytes, parts)) > 0.8 * free_bytes(place):
        if is_first_process():
            print(f"hf-jukebox: the models do not fit on {device} together; they take turns there.", file=sys.stderr)
        pipeline.enable_model_cpu_offload(device=place)
        return pipeline
    return pipeline.to(place)


def check_output(folder: Path) -> None:
    """Refuse a place that holds a run, or cannot be written to, before hours are spent on what belongs there."""
    from .runs.folder import check_free
    from .sampling.processes import from_first

    def check() -> None:
        _check_writable(folder)
        check_free(folder)

    from_first(check)


def _check_writable(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise OSError(f"{existing} is a file; give --output a folder.")
    try:
        probe = existing / f".hf-jukebox-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{existing} cannot be written to; give --output another folder.") from error


@contextmanager
def shown_progress(style: ProgressStyle) -> Iterator[Callable[[SamplingProgress], None]]:
    """A callback for the pipeline that shows each level as a bar on stderr, or as JSON lines on stdout."""
    if style is ProgressStyle.NONE:
        yield lambda progress: None
    elif style is ProgressStyle.JSON:
        yield _JsonLines()
    else:
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}")]
        with Progress(*columns, console=Console(stderr=True, highlight=False), refresh_per_second=4) as bars:
            yield _Bars(bars)


def tell_result(run_dir: Path, style: ProgressStyle, started: float) -> None:
    """Say where the audio of a run is."""
    from .runs.folder import JukeboxRun

    run = JukeboxRun.open(run_dir)
    audio = run.audio_paths()
    if style is ProgressStyle.JSON:
        paths = {str(level): [str(path) for path in of_level] for level, of_level in audio.items()}
        print(json.dumps({"run": str(run_dir), "finished": run.is_finished, "audio": paths}), flush=True)
    elif style is ProgressStyle.BAR:
        took = time.monotonic() - started
        console.print(f"{run_dir}: {len(run.request.songs)} x {run.seconds:.2f} s, after {took:.1f} s of work:")
        for path in [path for of_level in audio.values() for path in of_level]:
            console.print(f"  {path}", soft_wrap=True)


@dataclass
class _Speed:
    """Codes a second at a level, measured from its first code on."""

    level: int = -1
    first: int = 0
    since: float = 0.0

    def update(self, progress: SamplingProgress) -> float:
        now = time.monotonic()
        if progress.level != self.level:
            # The code that begins a level also reads its context: it is no measure of the others.
            self.level, self.first, self.since = progress.level, progress.drawn, now
        return (progress.drawn - self.first) / (now - self.since) if progress.drawn > self.first else 0.0


@dataclass
class _JsonLines:
    """One JSON object a line, about once a second and at the end of a level."""

    speed: _Speed = field(default_factory=_Speed)
    last: float = 0.0

    def __call__(self, progress: SamplingProgress) -> None:
        speed, now = self.speed.update(progress), time.monotonic()
        if now - self.last < _SECONDS_BETWEEN_LINES and progress.done < progress.total:
            return
        self.last = now
        line = {
            "level": progress.level,
            "songs": [progress.songs.start, progress.songs.stop - 1],
            "seconds_done": round(progress.done / progress.codes_per_second, 3),
            "seconds_total": round(progress.total / progress.codes_per_second, 3),
            "codes_per_second": round(speed, 1),
            "music_per_second": round(speed / progress.codes_per_second, 4),
            "level_seconds_left": _left(progress.level_to_draw - progress.level_drawn, speed),
            "run_seconds_left": _left(progress.to_draw - progress.drawn, speed),
        }
        print(json.dumps(line), flush=True)


@dataclass
class _Bars:
    """One bar a level; the levels to come are as fast as the one that is drawn, as far as one can know."""

    bars: Progress
    speed: _Speed = field(default_factory=_Speed)
    tasks: dict[int, TaskID] = field(default_factory=dict)

    def __call__(self, progress: SamplingProgress) -> None:
        speed = self.speed.update(progress)
        if progress.level not in self.tasks:
            name = f"level {progress.level}"
            self.tasks[progress.level] = self.bars.add_task(name, total=progress.level_to_draw, figures="")
        done, total = (codes / progress.codes_per_second for codes in (progress.done, progress.total))
        songs = f", songs {progress.songs.start}-{progress.songs.stop - 1}" if len(progress.songs) > 1 else ""
        left = _clock(_left(progress.level_to_draw - progress.level_drawn, speed))
        whole = _clock(_left(progress.to_draw - progress.drawn, speed))
        music = speed / progress.codes_per_second
        figures = f"{done:.1f} of {total:.1f} s{songs}, {music:.3g} s a second, {left} left, {whole} for all levels"
        self.bars.update(self.tasks[progress.level], completed=progress.level_drawn, figures=figures)


def _left(codes: int, speed: float) -> float | None:
    return round(codes / speed, 1) if speed else None


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
