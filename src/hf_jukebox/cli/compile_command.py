"""The command that compiles the decode steps of a model ahead of time: compile."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

import typer

from ..console.lines import write_line
from .checks import check_model_options, find_given_device
from .models import load_pipeline
from .options import Levels, ModelOptions, OutputOptions, with_options
from .terminal import command_errors
from .values import check_numbers, read_level_options, read_levels


@with_options
def compile_(
    model_name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Folder or Hub repository; the demo model by default.")
    ] = None,
    num_samples: Annotated[int, typer.Option(help="Songs that are to be sampled at a time.")] = 1,
    levels: Levels = None,
    *,
    model: ModelOptions,
    shown: OutputOptions,
    **level_options: Any,
) -> None:
    """Compile the decode steps of a model, so that sample --compile finds them compiled.

    They are kept in the Hugging Face cache, for these settings, this version of PyTorch, processor and device.
    """
    with command_errors(quiet=shown.quiet):
        if model_name is not None and model.model is not None:
            raise ValueError("Name the model once, as MODEL or with --model.")
        model = replace(model, model=model_name or model.model)
        check_numbers(num_samples=num_samples)
        options = read_level_options(level_options) | {"levels": read_levels(levels)}
        check_model_options(model)
        model = model.on_device(find_given_device(model.device))
        pipeline = load_pipeline(model, compile_step=True, is_one_song=num_samples == 1, quiet=shown.quiet)
        from ..loading.compile_cache import use_compile_cache

        started, hierarchy = time.monotonic(), pipeline.hierarchy
        pipeline(  # the shortest piece in which each level samples a code
            audio_length_in_s=hierarchy.top_hop * 1.5 / pipeline.sampling_rate,
            num_waveforms_per_prompt=num_samples,
            output_type="latent",
            **options,
        )
        folder = use_compile_cache(pipeline.execution_device)
        if not shown.quiet:
            write_line(f"Compiled in {time.monotonic() - started:.1f} s; kept in {folder or 'the temporary files'}.")
