"""The command evaluate."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..console.lines import write_line
from ..console.signals import work_to_keep
from .checks import check_files, check_model_options, check_writable, find_given_device
from .models import load_pipeline
from .options import Levels, ModelOptions, path_option, with_options
from .terminal import command_errors, status
from .values import read_levels


@with_options
def evaluate(
    model_source: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder or Hub repository, or demo.", show_default=False)
    ],
    data: Annotated[Path, path_option(help="Folder of recordings, or of codes.", show_default=False)],
    output: Annotated[Path, path_option("--output", "-o", help="Folder for the report.")] = Path("evaluation"),
    excerpts: Annotated[int, typer.Option(help="Songs to use, one excerpt of each.")] = 32,
    seconds: Annotated[
        float | None, typer.Option(help="Length of an excerpt; one window of the top prior by default.")
    ] = None,
    continuations: Annotated[int, typer.Option(help="Excerpts whose first half is continued; 0 for none.")] = 8,
    names: Annotated[int, typer.Option(help="Names that a song's true artist or genre is compared with.")] = 10,
    levels: Levels = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    plots: Annotated[bool, typer.Option(help="Draw plots, which needs matplotlib.")] = True,
    *,
    model: ModelOptions,
) -> None:
    """Evaluate a model on songs, and write JSON, Markdown for its card, and plots."""
    with command_errors():
        for option, value, least in (
            ("--excerpts", excerpts, 1),
            ("--continuations", continuations, 0),
            ("--names", names, 2),
            ("--seed", seed, 0),
        ):
            if value < least:
                raise ValueError(f"{option} must be at least {least}, not {value}.")
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"--seconds must be a number of seconds above 0, not {seconds:g}.")
        if model.model is not None:
            raise ValueError("Name the model as the argument MODEL, without --model.")
        wanted = read_levels(levels)
        model = replace(model, model=None if model_source == "demo" else model_source)
        check_files([data])
        check_writable(output)
        check_model_options(model)
        from ..study.evaluation_report import write_report
        from ..study.plots import check_can_plot

        if plots:
            check_can_plot()
        pipeline = load_pipeline(model.on_device(find_given_device(model.device)))
        from ..study.evaluation import EvaluationSettings
        from ..study.evaluation import evaluate as evaluate_pipeline
        from ..study.excerpts import read_excerpts

        hop = pipeline.vqvae.config.hop_lengths[-1]
        length = pipeline.hierarchy.top_window
        if seconds is not None:
            length = max(pipeline.hierarchy.samples("--seconds", seconds) // hop, 2) * hop
        with status(f"Encoding {data} ..."):
            found = read_excerpts(data, pipeline.vqvae, length, excerpts, seed)
        settings = EvaluationSettings(continuations, names, seed, None if wanted is None else tuple(wanted))
        with work_to_keep():
            result = evaluate_pipeline(pipeline, found, settings, on_part=_say)
            result = {"model": model_source, "data": data.name, "seed": seed, **result}
            paths = write_report(output, result, model_source, plots)
        for path in paths:
            write_line(str(path))
        write_line(json.dumps(result))


def _say(part: str) -> None:
    with status(f"Evaluating {part} ..."):
        pass
