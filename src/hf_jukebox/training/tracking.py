"""Logging of metrics and audio to Accelerate's trackers and to the output folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from ..audio import write_audio
from ..files.atomic import replacing
from .arguments import LoopArguments

METRICS = "metrics.jsonl"
SAMPLES = "samples"


class Tracker:
    """Logger of a run; it writes on the main process only."""

    def __init__(self, accelerator: Accelerator, arguments: LoopArguments) -> None:
        self._accelerator = accelerator
        self._folder = Path(arguments.output_dir)
        settings = {name: "" if value is None else value for name, value in asdict(arguments).items()}
        accelerator.init_trackers("jukebox", config=settings)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log scalars by name, also to metrics.jsonl, without those that JSON cannot hold as they are not finite."""
        self._accelerator.log(metrics, step=step)
        if self._accelerator.is_main_process:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(_line({"step": step, **metrics}))

    def history(self) -> list[dict[str, float]]:
        """Return all entries so far, each with its `step`."""
        path = self._folder / METRICS
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("}")]  # the last line of a killed run may be cut

    def forget_after(self, step: int) -> None:
        """Remove the entries after a step from metrics.jsonl, as a run is resumed from there."""
        if self._accelerator.is_main_process and (self._folder / METRICS).is_file():
            kept = [entry for entry in self.history() if entry["step"] <= step]
            with replacing(self._folder / METRICS) as unfinished:
                unfinished.write_text("".join(map(_line, kept)), encoding="utf-8")

    def log_audio(self, audio: dict[str, np.ndarray], sampling_rate: int, step: int, prompts: dict[str, str]) -> None:
        """Write `[T]` float arrays to samples/step-STEP/NAME.wav, and log them to TensorBoard, W&B or Trackio.

        Args:
            prompts: Description of what each was made from, for prompts.json beside them.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._accelerator.is_main_process:
            return
        folder = self._folder / SAMPLES / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, samples in audio.items():
            write_audio(folder / f"{name}.wav", samples, sampling_rate)
        if prompts:
            (folder / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False) + "\n", encoding="utf-8")
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


def _line(entry: Mapping[str, float]) -> str:
    """Return an entry as a line of JSON."""
    return json.dumps({name: value for name, value in entry.items() if math.isfinite(value)}) + "\n"
