"""The options of the commands, each declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Self, get_type_hints

import typer

from ..console.lines import is_first_process
from ..files.text import user_path
from ..sampling.options import SamplingSettings
from .devices import AUTO
from .progress import ProgressStyle

PER_LEVEL = "one number, or one per level with commas, finest first"


def _path(text: str) -> Path:
    """Return the path of an option or argument.

    Raises:
        typer.BadParameter: it is empty, as a shell's variable may be; pathlib takes that for the current folder.
    """
    if not str(text):
        raise typer.BadParameter("it is empty; give a path, such as . for the current folder.")
    return user_path(text)


def path_option(*names: str, metavar: str = "PATH", **settings: Any) -> Any:
    """Return an option that takes a path, with a leading `~` expanded, which shells do only at the start of a word."""
    return typer.Option(*names, parser=_path, metavar=metavar, **settings)


def path_argument(metavar: str = "PATH", **settings: Any) -> Any:
    """Return an argument that takes paths as `path_option` does."""
    return typer.Argument(parser=_path, metavar=metavar, **settings)


RunFolder = Annotated[Path, path_argument("DIR", help="Folder of the run.", show_default=False)]
Levels = Annotated[str | None, typer.Option(help="Levels to sample, with commas, such as 2 or 2,1.")]
Upsampling = Annotated[str, typer.Option(help="sequential, or parallel: faster, with seams (docs/performance.md).")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the decode step: several times as fast, after some seconds.")
]
MaxBatchSize = Annotated[
    int | None, typer.Option(help="Songs to sample at a time; by default all that fit into memory.")
]
Avoid = Annotated[
    Path | None,
    path_option(help="Catalogue of codes to avoid; see hf-jukebox catalogue.", metavar="CATALOGUE"),
]
Seed = Annotated[int | None, typer.Option(help="Random seed; the same seed gives the same bits.")]

DTYPE_HELP = "float32, float16, bfloat16, or auto: what this device does well (docs/performance.md)."


@dataclass(frozen=True)
class ModelOptions:
    """Options of the commands that load a pipeline."""

    model: Annotated[str | None, typer.Option(help="Folder or Hub repository; the demo model by default.")] = None
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the Hub repository.")] = None
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep the priors on disk, and load each when its level is sampled.")
    ] = False
    device: Annotated[
        str | None, typer.Option(help="cuda, mps, cpu, or gpu for any GPU; the best available by default.")
    ] = None
    dtype: Annotated[str, typer.Option(help=DTYPE_HELP)] = AUTO
    lora: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:STRENGTH]", help="LoRA adapter: a folder or Hub repository. Give it once per adapter."
        ),
    ] = None

    def on_device(self, device: str | None) -> Self:
        """Return the same options with another device."""
        return replace(self, device=device)


@dataclass(frozen=True)
class RunModelOptions(ModelOptions):
    """Options of the commands that load the pipeline of a run."""

    model: Annotated[
        str | None, typer.Option(help="Folder or Hub repository, if the model is no longer where it was.")
    ] = None


@dataclass(frozen=True)
class LabelOptions:
    """Labels of a song."""

    artist: Annotated[str | None, typer.Option(help="Artist, by a name that the model was trained with.")] = None
    genre: Annotated[str | None, typer.Option(help="Genre, by a name that the model was trained with.")] = None
    lyrics: Annotated[str | None, typer.Option(help=r"Lyrics of the whole song; \n begins a new line.")] = None
    lyrics_file: Annotated[Path | None, path_option(help="Lyrics from a text or .lrc file.")] = None
    total_seconds: Annotated[float | None, typer.Option(help="Length of the song of which the result is a part.")] = (
        None
    )


@dataclass(frozen=True)
class OutputOptions:
    """Options for what a command prints."""

    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False
    progress: Annotated[ProgressStyle, typer.Option(help="Bars for people, or JSON lines for programs.")] = (
        ProgressStyle.BAR
    )

    @property
    def style(self) -> ProgressStyle:
        """Style of this process: none but in the first one, and with --quiet none but JSON that was asked for."""
        is_shown = is_first_process() and (not self.quiet or self.progress is ProgressStyle.JSON)
        return self.progress if is_shown else ProgressStyle.NONE


@dataclass(frozen=True)
class ListenOptions:
    """Options for hearing a run while it is sampled."""

    play: Annotated[bool, typer.Option("--play", help="Play the first song while it is sampled.")] = False
    stream: Annotated[
        str | None, typer.Option(metavar="-", help="Write the first song to stdout while it is sampled.")
    ] = None
    stream_format: Annotated[
        str | None, typer.Option(help="Format on stdout: wav, or pcm, 16-bit samples alone.", show_default="wav")
    ] = None
    play_level: Annotated[
        int | None, typer.Option(help="Level to play or stream; the one that is sampled first by default.")
    ] = None


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Expand the parameters of a command that stand for several options.

    A parameter whose type is a dataclass becomes one option per field, and the command receives the dataclass. The
    parameter `**level_options` becomes the options with one value for all levels or one per level, as
    `SamplingSettings` declares them, and the command receives the text of those that are set.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            for name, (_, help) in level_options().items():
                annotation = Annotated[str | None, typer.Option(help=f"{help}: {PER_LEVEL}.")]
                parameters.append(_keyword(name, None, annotation))
        elif isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            group: type[Any] = parameter.annotation
            groups[parameter.name] = group
            hints = get_type_hints(group, include_extras=True)
            parameters += [_keyword(field.name, field.default, hints[field.name]) for field in fields(group)]
        else:
            parameters.append(_keyword(parameter.name, parameter.default, parameter.annotation))

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def level_options() -> dict[str, tuple[type[Any], str]]:
    """Return the type and the help of each option with one value per level, by its name in Python."""
    options: dict[str, tuple[type[Any], str]] = {
        setting.name: (type(setting.default), setting.metadata["help"]) for setting in fields(SamplingSettings)
    }
    return options | {"hop_fraction": (float, "Hop from window to window, as a share of a window")}


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    """Return a parameter that is passed by name, as typer passes all values."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
