"""The pipeline of a command, loaded onto its device."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import DEMO_MODEL
from ..console.lines import is_first_process, is_terminal, write_error
from ..console.quiet import hush_libraries
from .checks import read_adapters
from .devices import AUTO, find_device
from .options import ModelOptions
from .terminal import status

if TYPE_CHECKING:
    import torch

    from ..pipeline_jukebox import JukeboxPipeline
    from ..runs.contents import RunReader
    from ..runs.song_files import SongFile

logger = logging.getLogger(__name__)

_WORTH_COMPILING = 10.0  # seconds of music, which even the demo model samples faster with the time to compile included


def load_pipeline(
    options: ModelOptions, *, compile_step: bool = False, is_one_song: bool = True, quiet: bool = False
) -> JukeboxPipeline:
    """Load the pipeline that the options name, and say so.

    Args:
        is_one_song: Whether songs and windows are sampled one at a time; see `sampling.precision.fast_dtype`.

    Raises:
        OSError, ValueError: there is no such pipeline.
    """
    with status(f"Loading {options.model or 'the demo model'} ...", quiet):
        pipeline = _load(options, compile_step, is_one_song)
    dtype = str(pipeline.dtype).removeprefix("torch.")
    if not quiet and is_first_process() and options.dtype == AUTO and (compile_step or dtype != "float32"):
        write_error(f"Working in {dtype}, which is fast here; --dtype chooses another precision.")
    return pipeline


def suggest_compiling(pipeline: JukeboxPipeline, seconds: float | None) -> None:
    """Say in a terminal that `--compile` would save time, if it would, and a compiler is there."""
    device = pipeline.execution_device
    is_long = seconds is not None and seconds >= _WORTH_COMPILING
    if not is_long or device.type != "cpu" or not is_first_process() or not is_terminal(sys.stderr):
        return
    from ..sampling.compiled import check_can_compile

    with suppress(OSError):
        check_can_compile(device)
        write_error("There is a C++ compiler: --compile makes this several times as fast, after some seconds.")


def load_run_pipeline(run_dir: Path, options: ModelOptions, *, quiet: bool = False) -> JukeboxPipeline:
    """Load the pipeline that sampled a run, in the same precision, and say so.

    Its adapters are those of the run, unless the options name others.

    Raises:
        OSError, ValueError: it or an adapter is no longer where it was; the message names `--model` or `--lora`.
    """
    with status(f"Loading {options.model or f'the model of {run_dir}'} ...", quiet):
        from ..runs.contents import RunReader

        return _load_model_of(RunReader.open(run_dir), options)


def load_song_pipeline(song: SongFile, options: ModelOptions, *, quiet: bool = False) -> JukeboxPipeline:
    """Load the pipeline that sampled the song of a file, in the same precision, and say so.

    Raises:
        ValueError: it is not on this machine, or is another one whose codes mean other sounds.
    """
    with status(f"Loading {options.model or f'the model of {song.path}'} ...", quiet):
        from ..runs.record import check_model

        pipeline = _load_model_of(song.run, options)
        check_model(song.step.model, {"vqvae": pipeline.model_record().parts["vqvae"]}, song.path)
        return pipeline


def _load_model_of(run: RunReader, options: ModelOptions) -> JukeboxPipeline:
    from ..runs.model_source import model_of_run

    source = options.model or model_of_run(run)
    dtype = run.step.model.dtype if options.dtype == AUTO else options.dtype
    options = replace(options, model=source, dtype=dtype)
    is_compiled = run.step.model.is_compiled and _can_compile(_target(options))
    return _load(options, is_compiled, run=None if options.lora else run)


def _target(options: ModelOptions) -> torch.device:
    """Return the device that the options name, or the best available."""
    import torch

    from ..sampling.processes import device_of_process

    return torch.device(options.device or device_of_process() or find_device(None))


def _can_compile(device: torch.device) -> bool:
    """Return whether a run that began with a compiled step can go on with one; say what is missing if not."""
    from ..sampling.compiled import check_can_compile

    try:
        check_can_compile(device, "Going on with a compiled step, as the run began,", "go on without")
    except OSError as error:
        if is_first_process():
            logger.warning("%s", error)
        return False
    return True


def _load(
    options: ModelOptions, compile_step: bool = False, is_one_song: bool = True, run: RunReader | None = None
) -> JukeboxPipeline:
    """Load a pipeline onto a device, by default the best available.

    If its models do not all fit into the device's memory, they are moved there one at a time.

    Args:
        run: Run whose adapters to load, in place of those of the options.
    """
    import torch

    from .. import JukeboxPipeline
    from ..loading.compile_cache import use_compile_cache
    from ..memory.batch_size import free_bytes, weight_bytes
    from ..sampling.compiled import check_can_compile
    from ..sampling.precision import fast_dtype

    hush_libraries()  # the imports have set levels of their own
    target = _target(options)
    if compile_step:
        check_can_compile(target)
        use_compile_cache(target)  # before the precision is chosen, by a compiled trial where it is not known
    is_chosen = options.dtype == AUTO
    dtype = fast_dtype(target, is_compiled=compile_step, is_one_song=is_one_song) if is_chosen else options.dtype
    source = DEMO_MODEL if options.model is None else options.model
    revision = {} if options.revision is None else {"revision": options.revision}
    pipeline = JukeboxPipeline.from_pretrained(source, dtype=dtype, low_memory=options.low_memory, **revision)
    pipeline.set_progress_bar_config(disable=True)
    if run is not None:
        pipeline.load_run_adapters(run)
    for adapter, strength in read_adapters(options.lora):
        pipeline.load_lora_weights(adapter, scale=strength)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    if options.low_memory or target.type == "cpu" or sum(map(weight_bytes, parts)) <= 0.8 * free_bytes(target):
        pipeline.to(target)
    else:
        if is_first_process():
            logger.warning("The models do not all fit on %s; loading them one at a time.", target)
        pipeline.enable_model_cpu_offload(device=target)
    if compile_step:
        pipeline.compile()
    return pipeline
