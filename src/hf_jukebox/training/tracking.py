"""Logging of metrics and audio to Accelerate's trackers and to the output folder."""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from ..audio import write_audio
from .arguments import LoopArguments


class Tracker:
    """Logger of a run; it writes on the main process only."""

    def __init__(self, accelerator: Accelerator, arguments: LoopArguments) -> None:
        self._accelerator = accelerator
        self._folder = Path(arguments.output_dir)
        settings = {name: "" if value is None else value for name, value in asdict(arguments).items()}
        accelerator.init_trackers("jukebox", config=settings)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log scalars by name."""
        self._accelerator.log(metrics, step=step)

    def log_audio(self, audio: dict[str, np.ndarray], sampling_rate: int, step: int) -> None:
        """Write `[T]` float arrays to samples/step-STEP/NAME.wav, and log them to TensorBoard, W&B or Trackio.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._accelerator.is_main_process:
            return
        folder = self._folder / "samples" / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, samples in audio.items():
            write_audio(folder / f"{name}.wav", samples, sampling_rate)
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                for name, samples in audio.items():
                    tracker.tracker.add_audio(f"samples/{name}", samples[None], step, sampling_rate)
            elif tracker.name in ("wandb", "trackio"):
                player = import_module(tracker.name).Audio
                tracker.log({f"samples/{name}": player(each, sampling_rate) for name, each in audio.items()}, step=step)

    def finish(self) -> None:
        """Flush pending entries."""
        for tracker in self._accelerator.trackers:
            tracker.finish()
