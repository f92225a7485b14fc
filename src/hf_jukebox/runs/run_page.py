"""The listening page of a run, filled from its folder: the one place where it is made."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ..modeling_prior import JukeboxPrior
from ..report import Candidate, ListeningPage, LyricTiming, write_listening_page
from ..sampling.lyric_alignment import align_lyrics, why_not_aligned
from ..tokenization_jukebox import JukeboxTokenizer
from .contents import RunReader
from .model_source import model_name
from .record import RunStep

logger = logging.getLogger(__name__)

_DRAW_SETTINGS = {"Temperature": "temperature", "Top k": "top_k", "Top p": "top_p"}


def update_page(
    run: RunReader,
    top_prior: JukeboxPrior | None = None,
    tokenizer: JukeboxTokenizer | None = None,
    place: Callable[[torch.nn.Module], None] | None = None,
) -> None:
    """Write `index.html` into a run's folder, and into those of the songs of a batch, once there is something to hear.

    A page can be made again, a run cannot: whatever goes wrong here is a warning.

    Args:
        top_prior: Aligns the lyrics of the songs whose top level is complete, or has a sentence that says why not.
        tokenizer: Labels the windows that it reads.
        place: Brings it to its device.
    """
    try:
        try:
            if top_prior is not None and tokenizer is not None:
                _align(run, top_prior, tokenizer, place)
        finally:
            _write(run, top_prior)
    except Exception as error:
        logger.warning("The listening page of %s is not up to date: %s", run.folder, error)


def _align(
    run: RunReader,
    prior: JukeboxPrior,
    tokenizer: JukeboxTokenizer,
    place: Callable[[torch.nn.Module], None] | None,
) -> None:
    """Keep in the run's folder when which word is sung, where it is not kept already."""
    if why_not_aligned(prior.config) is not None:
        return
    hop = run.request.hops[prior.config.level]
    for number, codes in _complete_codes(run):
        song, path = run.request.songs[number], _sung_path(run, number, codes)
        if song.lyrics and not path.is_file():
            if place is not None:
                place(prior)
            LyricTiming.of(align_lyrics(prior, tokenizer, codes, song, hop)).save(path)


def _write(run: RunReader, top_prior: JukeboxPrior | None) -> None:
    for place in run.step.folders:
        song = run.folder / place.name
        if (song / "request.json").is_file():
            _write_one(RunReader.open(song), top_prior)
    _write_one(run, top_prior)


def _write_one(run: RunReader, top_prior: JukeboxPrior | None) -> None:
    audio = run.audio_paths()
    if not audio:
        return
    sung = {song: _sung_path(run, song, codes) for song, codes in _complete_codes(run)}
    note = "" if top_prior is None else why_not_aligned(top_prior.config) or ""
    candidates = []
    for number, song in enumerate(run.request.songs):
        kept = sung.get(number)
        is_sung = kept is not None and kept.is_file()
        candidates.append(
            Candidate(
                title=_title(run, number),
                audio={level: paths[number].relative_to(run.folder) for level, paths in audio.items()},
                labels={"Continues": song.prompt or "", "Artist": song.artist or "", "Genre": song.genre or ""},
                lyrics=song.lyrics or "",
                sung=LyricTiming.load(kept) if kept is not None and is_sung else None,
                note=note if song.lyrics and not is_sung else "",
            )
        )
    name = os.fsencode(run.folder.resolve().name).decode("utf-8", "replace")  # it may be in another encoding
    title = name.replace("-", " ").replace("_", " ")
    left = sorted(set(run.request.levels) - set(audio), reverse=True)
    state = f"Still to come: level{'s' if len(left) > 1 else ''} {' and '.join(map(str, left))}." if left else ""
    write_listening_page(run.folder, ListeningPage(title, candidates, _settings(run), state))


def _title(run: RunReader, song: int) -> str:
    for place in run.step.folders:
        if place.first <= song <= place.last:
            name = place.title or place.name
            return name if place.first == place.last else f"{name}, {song - place.first}"
    return f"Candidate {song}" if len(run.request.songs) > 1 else "The piece"  # numbered as the files are


def _settings(run: RunReader) -> dict[str, str]:
    step, first = run.step, run.steps[0]
    settings = {"Model": model_name(step.model.source), "Length": f"{run.seconds:.1f} s"}
    if prompt := max(first.known[-1]):
        settings["Prompt"] = f"{prompt * step.model.hop_lengths[-1] / run.sampling_rate:.1f} s"
    settings |= {name: _by_level(step, attribute) for name, attribute in _DRAW_SETTINGS.items()}
    settings["Made by"] = ", ".join(each.action for each in run.steps)
    settings["Begun"] = first.begun[:10]
    return {name: value for name, value in settings.items() if value}


def _by_level(step: RunStep, attribute: str) -> str:
    """One value, or one a drawn level from the top down; nothing for filters that are off."""
    values = {level: getattr(step.request.settings[level], attribute) for level in step.request.levels}
    if not any(values.values()):
        return ""
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values())):g}"
    return ", ".join(f"{value:g} at level {level}" for level, value in values.items())


def _complete_codes(run: RunReader) -> Iterator[tuple[int, torch.Tensor]]:
    """The songs whose top level is complete, and their codes `[T_top]`."""
    codes = run.codes[-1]
    for song in range(len(run.request.songs)):
        length = run.song_length(song)
        if codes.shape[1] >= length:
            yield song, codes[song, :length]


def _sung_path(run: RunReader, song: int, codes: torch.Tensor) -> Path:
    """Where the alignment of a song is kept: named by all that it depends on, so that a choice or another step finds it
    or knows that it has to be made anew.
    """
    labels = run.request.songs[song]
    top = len(run.step.known) - 1
    parts = (labels.artist, labels.genre, labels.lyrics, labels.total_length, labels.offset, run.request.hops[top])
    content = repr((*parts, run.step.model.parts.get(f"prior_{top}"))).encode() + codes.int().numpy().tobytes()
    folder = run.audio_path(top, song).parents[1]
    return folder / "alignment" / f"{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
