"""Recordings to study: read in blocks and encoded, so that memory does not grow with their length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..audio import audio_info, iter_audio
from ..audio.io import resampled_length
from ..audio.prompts import base_name, check_no_address, read_prompts
from ..files.text import user_path
from ..modeling_vqvae import JukeboxVQVAE

_ANY_LENGTH = 2**40  # samples


@dataclass(frozen=True)
class Recording:
    """A recording at the model's rate.

    Args:
        name: Name of its file, or its number.
        num_samples: Length at the model's rate.
        blocks: Returns the mono samples from the start, float32 `[t]` each; may be called more than once.
    """

    name: str
    num_samples: int
    blocks: Callable[[], Iterator[np.ndarray]]

    def peak(self) -> float:
        """Return the largest magnitude of a sample."""
        return max(float(np.abs(block).max(initial=0.0)) for block in self.blocks())


def open_recordings(audio: Any, sampling_rate: int | None, model_rate: int) -> Iterator[Recording]:
    """Yield the recordings that a caller gives, in all forms of `read_prompts`; files are read when they are used.

    Raises:
        OSError, ValueError: a recording cannot be read; see [`~audio.prompts.read_prompts`].
    """
    if isinstance(audio, str | os.PathLike):
        yield _file(audio, model_rate)
    elif isinstance(audio, list | tuple) and any(isinstance(each, str | os.PathLike) for each in audio):
        for each in audio:
            yield from open_recordings(each, sampling_rate, model_rate)
    else:
        prompts = read_prompts(audio, sampling_rate=sampling_rate, model_rate=model_rate, limit=_ANY_LENGTH)
        for number, prompt in enumerate(prompts):
            yield _in_memory(prompt.name or f"recording {number}", prompt.samples)


def encode_recording(
    vqvae: JukeboxVQVAE,
    recording: Recording,
    level: int,
    device: torch.device,
    *,
    most_samples: int | None = None,
    most_codes: int | None = None,
    peak: float = 1.0,
) -> torch.Tensor:
    """Return the codes `[T]` of a recording at one level, on the CPU.

    Args:
        most_samples: Samples to use, from the start; all by default.
        most_codes: Codes to return, from the start; all by default.
        peak: Magnitude to scale to 1.

    Raises:
        OSError, ValueError: the recording cannot be read, or is shorter than one code.
    """
    hop = vqvae.config.hop_lengths[level]

    def blocks() -> Iterable[torch.Tensor]:
        left = recording.num_samples if most_samples is None else most_samples
        for block in recording.blocks():
            yield torch.from_numpy(np.ascontiguousarray(block[:left] / np.float32(peak))).to(device)[None]
            left -= len(block)
            if left <= 0:
                return

    pieces, count = [], 0
    for piece in vqvae.iter_encode(blocks(), level):
        pieces.append(piece[0].cpu())
        count += piece.shape[1]
        if most_codes is not None and count >= most_codes:
            break
    if not count:
        rate = vqvae.config.sampling_rate
        raise ValueError(
            f"{recording.name} has {recording.num_samples / rate:.4f} s, less than one code of {hop / rate:.4f} s; "
            "leave it out."
        )
    return torch.cat(pieces)[:most_codes]


def _file(path: str | os.PathLike[str], rate: int) -> Recording:
    check_no_address(path)
    path = user_path(path)
    info = audio_info(path)
    length = resampled_length(info.frames, info.sampling_rate, rate)
    return Recording(base_name(path), length, lambda: iter_audio(path, rate, info=info))


def _in_memory(name: str, samples: np.ndarray) -> Recording:
    return Recording(name, len(samples), lambda: iter([samples]))
