"""Audio of runs that are not in progress, decoded on demand: what a stopped run has sampled, a song file holds."""

from __future__ import annotations

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import torch

from ..modeling_vqvae import JukeboxVQVAE
from ..runs.contents import RunReader
from ..runs.run_page import prompt_codes
from ..runs.storage import codes_path
from ..sampling.decode import SongDecoder
from ..sampling.known import KnownCodes
from ..sampling.state import LevelCodes
from .live_audio import GrowingAudio

logger = logging.getLogger(__name__)

_MOST_FILES = 16  # that are kept at a time
_MOST_COUNTS = 256
_Stamp = tuple[int, int, int]


class KeptAudio:
    """Decoder of codes that have no audio file, beside the run in progress: on the CPU, with a VQ-VAE of its own.

    Args:
        folder: Folder of the decoded files, which is emptied.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._vqvae: JukeboxVQVAE | None = None
        self._fingerprint = ""
        self._lock = threading.Lock()
        self._files: dict[tuple[str, int, int, _Stamp], GrowingAudio] = {}
        self._counts: dict[tuple[str, int, _Stamp], list[int]] = {}
        self._numbers = count()
        self._pool = ThreadPoolExecutor(1, "decoding")
        self._is_closing = False
        shutil.rmtree(folder, ignore_errors=True)

    def use(self, vqvae: JukeboxVQVAE, fingerprint: str) -> None:
        """Copy the VQ-VAE of a pipeline, which may be moved between devices at any time."""
        own = JukeboxVQVAE(vqvae.config)
        own.load_state_dict({name: each.cpu() for name, each in vqvae.state_dict().items()})
        self._fingerprint, self._vqvae = fingerprint, own.float().eval()

    def close(self) -> None:
        """End the decoding."""
        self._is_closing = True
        self._pool.shutdown(cancel_futures=True)

    def is_complete(self, run: RunReader) -> bool:
        """Return whether all levels of the current step of a run can be heard to the end."""
        songs = range(len(run.request.songs))
        return all(
            self.num_codes(run, level) == [run.song_length(song, level) for song in songs]
            for level in run.request.levels
        )

    def num_codes(self, run: RunReader, level: int) -> list[int]:
        """Return the codes per song that can be heard at a level of a run; 0 if there are only those of a prompt."""
        nothing = [0] * len(run.request.songs)
        if self._vqvae is None or run.step.model.parts.get("vqvae") != self._fingerprint:
            return nothing
        path = codes_path(run.folder, level)
        if level not in run.request.levels or path.is_symlink() or path.parent.is_symlink():
            return nothing
        key = run.folder.name, level, _stamp(run, level)
        if (found := self._counts.get(key)) is None:
            try:
                found = _counted(run, level, self._vqvae.config.codebook_size)
            except (OSError, ValueError) as error:
                logger.warning("%s cannot be heard: %s", run.folder.name, error)
                found = nothing
            if len(self._counts) >= _MOST_COUNTS:
                self._counts.clear()
            self._counts[key] = found
        return found

    def get(self, run: RunReader, level: int, song: int) -> GrowingAudio | None:
        """Return the audio of a song at a level, which grows while it is decoded; None if there is nothing to hear."""
        codes = self.num_codes(run, level)[song]
        if not codes:
            return None
        key = run.folder.name, level, song, _stamp(run, level)
        with self._lock:
            if key not in self._files:
                while len(self._files) >= _MOST_FILES:
                    self._files.pop(next(iter(self._files))).path.unlink(missing_ok=True)
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{next(self._numbers)}.pcm"
                audio = GrowingAudio(path, path.open("wb"), codes * run.step.model.hop_lengths[level])
                self._files[key] = audio
                self._pool.submit(self._decode, run, level, song, audio)
            return self._files[key]

    @torch.no_grad()
    def _decode(self, run: RunReader, level: int, song: int, audio: GrowingAudio) -> None:
        assert self._vqvae is not None
        try:
            length = (audio.total or 0) // run.step.model.hop_lengths[level]
            codes = _level_codes(run.read_level(level).select([song]))
            for block in SongDecoder(self._vqvae, codes, level, 0, length, torch.device("cpu")):
                if self._is_closing:
                    return
                audio.append(block.samples)
        except Exception as error:
            logger.warning("%s cannot be heard: %s", run.folder.name, error)
        finally:
            audio.end()


def _stamp(run: RunReader, level: int) -> _Stamp:
    """Return a value that changes whenever the codes of a level do."""
    try:
        status = codes_path(run.folder, level).stat()
    except OSError:
        return len(run.steps), 0, 0
    return len(run.steps), status.st_mtime_ns, status.st_size


def _counted(run: RunReader, level: int, codebook_size: int) -> list[int]:
    """Return the codes of each song at a level, prompt included; 0 for a song that has no more than its prompt."""
    known, hops = run.read_level(level), run.step.model.hop_lengths
    if not known.are_codes(codebook_size):
        raise ValueError(f"there are codes beyond the {codebook_size} of the VQ-VAE at level {level}.")
    prompts = [codes * hops[-1] // hops[level] for codes in prompt_codes(run.steps)]
    lengths = [min(filled, run.song_length(song, level)) for song, filled in enumerate(known.lengths)]
    return [length if length > prompt else 0 for length, prompt in zip(lengths, prompts, strict=True)]


def _level_codes(known: KnownCodes) -> LevelCodes:
    return LevelCodes(known.codes, known.lengths, known.lengths, known.seams or [[]], known.avoided or [{}])
