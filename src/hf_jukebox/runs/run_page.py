"""The listening page of a run, made from its folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from ..files.tensors import read_tensors, write_tensors
from ..modeling_prior import JukeboxPrior
from ..report import Candidate, ListeningPage, LyricTiming, write_listening_page
from ..sampling.lyric_alignment import align_lyrics, why_not_aligned
from ..sampling.options import SamplingSettings
from ..sampling.single_prior import score_codes
from ..sampling.window_labels import WindowLabels, labels_of_windows
from ..tokenization_jukebox import JukeboxTokenizer
from .command_lines import run_commands
from .contents import RunReader
from .model_source import model_name
from .names import REQUEST
from .record import RunStep

_ALIGNMENT, _SURPRISE = "alignment", "surprise"  # folders in that of the top level

logger = logging.getLogger(__name__)


def update_page(
    run: RunReader,
    top_prior: JukeboxPrior | None = None,
    tokenizer: JukeboxTokenizer | None = None,
    load_part: Callable[[torch.nn.Module], None] | None = None,
) -> None:
    """Write `index.html` to the folder of a run, and to those of the songs of a batch, once a level has audio.

    The page can be regenerated, so any failure here is only a warning.

    Args:
        top_prior: Prior that aligns the lyrics of songs whose top level is complete.
        tokenizer: Tokenizer of its labels.
        load_part: Brings the prior to its device.
    """
    try:
        complete = dict(_complete_codes(run))
        try:
            if top_prior is not None and tokenizer is not None:
                _align(run, complete, top_prior, tokenizer, load_part)
            if top_prior is not None and top_prior.config.level in run.request.levels:
                _score(run, complete, top_prior, tokenizer, load_part)
        finally:
            _write(run, complete, top_prior)
    except Exception as error:
        logger.warning("The listening page of %s is not up to date: %s", run.folder, error)


def _align(
    run: RunReader,
    complete: Mapping[int, torch.Tensor],
    prior: JukeboxPrior,
    tokenizer: JukeboxTokenizer,
    load_part: Callable[[torch.nn.Module], None] | None,
) -> None:
    """Write the alignment of the lyrics to the run folder, unless it is there already."""
    if why_not_aligned(prior.config) is not None:
        return
    hop = run.request.hops[prior.config.level]
    for number, codes in complete.items():
        song, path = run.request.songs[number], _cached_path(run, number, codes, _ALIGNMENT)
        if song.lyrics and not path.is_file():
            if load_part is not None:
                load_part(prior)
            LyricTiming.of(align_lyrics(prior, tokenizer, codes, song, hop)).save(path)


def _score(
    run: RunReader,
    complete: Mapping[int, torch.Tensor],
    prior: JukeboxPrior,
    tokenizer: JukeboxTokenizer | None,
    load_part: Callable[[torch.nn.Module], None] | None,
) -> None:
    """Write the bits of every top-level code to the run folder, unless they are there already."""
    config = prior.config
    if config.has_labels and tokenizer is None:
        return
    for number, codes in complete.items():
        song, path = run.request.songs[number], _cached_path(run, number, codes, _SURPRISE)
        if path.is_file():
            continue
        if load_part is not None:
            load_part(prior)
        labels = None
        if tokenizer is not None and config.has_labels:
            labels = labels_of_windows(WindowLabels(tokenizer, config), song)
        bits = score_codes(prior, codes[None], labels=labels, hop=config.n_ctx // 2)[0]
        write_tensors(path, {"bits": bits.half().cpu()}, {})


def _write(run: RunReader, complete: Mapping[int, torch.Tensor], top_prior: JukeboxPrior | None) -> None:
    for part in run.step.folders:
        song = run.folder / part.name
        if (song / REQUEST).is_file():
            part_run = RunReader.open(song)
            _write_one(part_run, dict(_complete_codes(part_run)), top_prior)
    _write_one(run, complete, top_prior)


def _write_one(run: RunReader, complete: Mapping[int, torch.Tensor], top_prior: JukeboxPrior | None) -> None:
    audio = run.audio_paths()
    if not audio:
        return
    timings = {song: _cached_path(run, song, codes, _ALIGNMENT) for song, codes in complete.items()}
    surprises = {song: _cached_path(run, song, codes, _SURPRISE) for song, codes in complete.items()}
    note = "" if top_prior is None else why_not_aligned(top_prior.config) or ""
    candidates, prompts = [], prompt_codes(run.steps)
    for number, song in enumerate(run.request.songs):
        path = timings.get(number)
        is_aligned = path is not None and path.is_file()
        candidates.append(
            Candidate(
                title=_title(run, number),
                audio={level: paths[number].relative_to(run.folder) for level, paths in audio.items()},
                labels={"Continues": song.prompt or "", "Artist": song.artist or "", "Genre": song.genre or ""},
                lyrics=song.lyrics or "",
                sung=LyricTiming.load(path) if path is not None and is_aligned else None,
                note=note if song.lyrics and not is_aligned else "",
                prompt_in_s=prompts[number] * run.step.model.hop_lengths[-1] / run.sampling_rate,
                surprise=_read_surprise(surprises.get(number)),
            )
        )
    name = os.fsencode(run.folder.resolve().name).decode("utf-8", "replace")  # it may be in another encoding
    title = name.replace("-", " ").replace("_", " ")
    left = sorted(set(run.request.levels) - set(audio), reverse=True)
    state = f"Still to come: level{'s' if len(left) > 1 else ''} {' and '.join(map(str, left))}." if left else ""
    command = "\n".join(run_commands(run))
    write_listening_page(run.folder, ListeningPage(title, candidates, _settings(run), state, command=command))


def prompt_codes(steps: Sequence[RunStep]) -> list[int]:
    """Return the top-level codes of each song's prompt, which the first step was given."""
    rows = list(range(len(steps[-1].request.songs)))
    for step in reversed(steps[1:]):
        rows = [step.rows[row] for row in rows]
    return [steps[0].known[-1][row] for row in rows]


def _title(run: RunReader, song: int) -> str:
    if part := run.song_folder(song):
        name = part.title or part.name
        return name if part.first == part.last else f"{name}, {song - part.first}"
    return f"Candidate {song}" if len(run.request.songs) > 1 else "The piece"  # numbered like the files


def _settings(run: RunReader) -> dict[str, str]:
    step, first = run.step, run.steps[0]
    settings = {"Model": model_name(step.model.source), "Length": f"{run.seconds:.1f} s"}
    if prompt := max(first.known[-1]):
        settings["Prompt"] = f"{prompt * step.model.hop_lengths[-1] / run.sampling_rate:.1f} s"
    for setting in fields(SamplingSettings):
        settings[setting.name.replace("_", " ").capitalize()] = _by_level(step, setting.name)
    settings["Catalogue"] = run.avoided_in_words()
    if run.request.seed is not None:
        settings["Seed"] = str(run.request.seed)
    settings["Made by"] = ", ".join(each.action for each in run.steps)
    settings["Begun"] = first.begun[:10]
    return {name: value for name, value in settings.items() if value}


def _by_level(step: RunStep, attribute: str) -> str:
    """Return one value, or one per sampled level from the top down; nothing for filters that are off."""
    values = {level: getattr(step.request.settings[level], attribute) for level in step.request.levels}
    if not any(values.values()):
        return ""
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values())):g}"
    return ", ".join(f"{value:g} at level {level}" for level, value in values.items())


def _complete_codes(run: RunReader) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the songs whose top level is complete, and their codes `[T_top]`."""
    codes = run.level_codes(len(run.step.known) - 1)
    for song in range(len(run.request.songs)):
        length = run.song_length(song)
        if codes.shape[1] >= length:
            yield song, codes[song, :length]


def timing_path(run: RunReader, song: int) -> Path | None:
    """Return the path of a song's alignment; None while its top level is not complete."""
    paths = (_cached_path(run, each, codes, _ALIGNMENT) for each, codes in _complete_codes(run) if each == song)
    return next(paths, None)


def _read_surprise(path: Path | None) -> np.ndarray | None:
    """Return the bits `[T_top]` of a song's top-level codes, if they have been written."""
    if path is None or not path.is_file():
        return None
    bits = read_tensors(path)[0].get("bits")
    if bits is None or bits.dim() != 1 or not bits.is_floating_point() or not bits.numel():
        raise ValueError(f"{path} does not hold the bits of a piece; remove it, and it is computed again.")
    return bits.float().numpy()


def _cached_path(run: RunReader, song: int, codes: torch.Tensor, kind: str) -> Path:
    """Return the path of what a prior reads from a song, named by a hash of all inputs: a changed one has another."""
    labels = run.request.songs[song]
    top = len(run.step.known) - 1
    parts = (labels.artist, labels.genre, labels.lyrics, labels.total_length, labels.offset, run.request.hops[top])
    content = repr((*parts, run.step.model.parts.get(f"prior_{top}"))).encode() + codes.int().numpy().tobytes()
    folder = run.audio_path(top, song).parents[1]
    return folder / kind / f"{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
