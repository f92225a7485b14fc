"""The commands that sample a run again, from its record."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import fields

from ..files.text import shell_path
from ..sampling.options import SamplingSettings
from ..sampling.request import SamplingRequest
from .contents import RunReader
from .model_source import is_demo_model
from .record import RunStep


def run_commands(run: RunReader) -> list[str]:
    """Return the commands that sample a run again, one per step, to paste into a shell.

    They are empty where no command can do that: a batch of songs from a file, prompts that were no files, codes that
    were given, songs with labels or seeds of their own, a generator that had been used, a model that was never saved,
    or adapters that were merged or removed. A `hop_fraction` and a batch size are not part of the commands.
    """
    lines = []
    for number, step in enumerate(run.steps):
        words = _words(step, run.steps[number - 1] if number else None, shell_path(run.folder.resolve().name))
        if words is None:
            return []
        lines.append(shlex.join(["hf-jukebox", *words]))
    return lines


def _words(step: RunStep, before: RunStep | None, folder: str) -> list[str] | None:
    request = step.request
    if step.action == "pick":
        return ["pick", folder, str(step.rows[0])]
    if step.model.source is None or request.seed is None or step.folders:
        return None
    adapters = step.model.adapters
    if any(each.is_merged for each in adapters) or (before is not None and before.model.adapters and not adapters):
        return None
    if len({(song.artist, song.genre, song.lyrics, song.total_length) for song in request.songs}) > 1:
        return None
    if before is None:
        start = _start(step)
        return None if start is None else [*start, *_options(step, None), "--output", folder]
    if step.action == "upsample":
        return ["upsample", folder, *_options(step, before)]
    words = ["continue", folder, "--seconds", _seconds(request.top_codes, step)]
    if (candidates := len(request.songs) // len(before.request.songs)) > 1:
        words += ["--num-samples", str(candidates)]
    return words + _options(step, before)


def _start(step: RunStep) -> list[str] | None:
    """Return the words that begin the command of a new run: its prompts, songs and lengths."""
    songs, given = step.request.songs, step.known[-1]
    prompts = [song.prompt for song in songs]
    words = ["sample"]
    if any(given):
        named = [prompt for prompt in prompts if prompt]
        if len(named) < len(prompts) or len(set(given)) > 1:
            return None
        words += map(shell_path, named[:1] if len(set(named)) == 1 else named)
        words += ["--prompt-seconds", _seconds(given[0], step)]
    if len(songs) > 1 and len(set(prompts)) == 1:
        words += ["--num-samples", str(len(songs))]
    return [*words, "--seconds", _seconds(step.request.top_codes, step)]


def _options(step: RunStep, before: RunStep | None) -> list[str]:
    """Return the options of a step that differ from the step before, or from the defaults."""
    request, rate = step.request, step.model.sampling_rate
    song, old = request.songs[0], None if before is None else before.request
    words: list[str] = []
    if (source := step.model.source) and not is_demo_model(source) and before is None:
        words += ["--model", source]
    if before is None or step.model.adapters != before.model.adapters:
        words += [word for each in step.model.adapters for word in ("--lora", each.title)]
    for name in ("artist", "genre", "lyrics"):
        value = getattr(song, name)
        if value is not None and (old is None or value != getattr(old.songs[0], name)):
            words += [f"--{name}", value.replace("\n", r"\n")]
    end = song.offset + request.top_codes * step.model.hop_lengths[-1]
    if song.total_length != _default_length(end, old):
        words += ["--total-seconds", f"{song.total_length / rate:.6f}".rstrip("0").rstrip(".")]
    if old is None and song.offset:
        words += ["--offset-seconds", f"{song.offset / rate:.6f}".rstrip("0").rstrip(".")]
    if step.action != "upsample" and len(request.levels) < len(step.model.hop_lengths):
        words += ["--levels", ",".join(map(str, request.levels))]
    if old is None and request.upsampling != "sequential":
        words += ["--upsampling", request.upsampling]
    defaults = [SamplingSettings()] * len(request.settings) if old is None else old.settings
    words += _settings(request.settings, defaults)
    if ("16" in step.model.dtype or step.model.is_compiled) and before is None:
        words += ["--dtype", step.model.dtype.removeprefix("torch.")]
    if step.model.is_compiled and before is None:
        words.append("--compile")
    if request.seed is not None and (old is None or request.seed != old.seed):
        words += ["--seed", str(request.seed)]
    return words


def _default_length(end: int, before: SamplingRequest | None) -> int:
    """Return the length that a song has where the command names none."""
    return end if before is None else max(before.songs[0].total_length, end)


def _settings(settings: Sequence[SamplingSettings], defaults: Sequence[SamplingSettings]) -> list[str]:
    words = []
    for field in fields(SamplingSettings):
        values = [f"{getattr(each, field.name):g}" for each in settings]
        if values != [f"{getattr(each, field.name):g}" for each in defaults]:
            words += [f"--{field.name.replace('_', '-')}", values[0] if len(set(values)) == 1 else ",".join(values)]
    return words


def _seconds(top_codes: int, step: RunStep) -> str:
    """Return a length in seconds, rounded up so that it is cut down to the same number of codes."""
    seconds = top_codes * step.model.hop_lengths[-1] / step.model.sampling_rate
    return f"{math.ceil(seconds * 1e4) / 1e4:.4f}".rstrip("0").rstrip(".")
