"""Checkpoints and audio samples in an output folder that are not of the run to come."""

from __future__ import annotations

import logging
import os
import shutil
from itertools import count
from pathlib import Path

from .checkpoint import list_checkpoints
from .tracking import SAMPLES

logger = logging.getLogger(__name__)


def set_aside_after(output_dir: Path, step: int) -> None:
    """Move checkpoints and samples after a step into OUTPUT/abandoned-N, so that `latest` and the card ignore them."""
    found = _results_after(output_dir, step)
    if not found:
        return
    folder = next(path for n in count(1) if not (path := output_dir / f"abandoned-{n}").exists())
    for path in found:
        target = folder / path.relative_to(output_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    logger.info("Moved what follows step %d (%s) to %s.", step, _names(found), folder)


def remove_results(output_dir: Path) -> None:
    """Remove all checkpoints and samples."""
    found = _results_after(output_dir, 0)
    for path in found:
        shutil.rmtree(path)
    if found:
        logger.info("Removed %s of the run before.", _names(found))


def _results_after(output_dir: Path, step: int) -> list[Path]:
    samples = [path for path in (output_dir / SAMPLES).glob("step-*") if path.is_dir()]
    return [path for path in (*list_checkpoints(output_dir), *sorted(samples)) if _step_of(path) > step]


def _step_of(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name if path.name.startswith("checkpoint") else f"{SAMPLES}/{path.name}" for path in paths)
