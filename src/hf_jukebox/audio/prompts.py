"""Prompts in the forms that other libraries return, converted to named mono samples at the model's rate."""

from __future__ import annotations

import io
import operator
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast

import numpy as np
import torch

from ..files.text import listed, user_path
from .io import CHANNELS_CANCEL, level_remark, prepare_audio, read_audio
from .prompt_arrays import channels_first, split_songs, to_array


class AudioDecoder(Protocol):
    """A decoder as in torchcodec and datasets; its samples have `data` `[C, T]` and a `sample_rate`."""

    def get_all_samples(self) -> Any:
        """Decode the whole recording."""


Samples: TypeAlias = np.ndarray | torch.Tensor
AudioPrompt: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | BinaryIO
    | Samples
    | tuple[Samples, int]
    | tuple[int, Samples]
    | Mapping[str, Any]
    | AudioDecoder
)
Audio: TypeAlias = AudioPrompt | Sequence[AudioPrompt]


@dataclass(frozen=True)
class Prompt:
    """A recording to continue.

    Args:
        samples: float32 `[T]`, mono, at the model's rate; empty for a song without a prompt.
        name: Name on the listening page, such as that of its file.
    """

    samples: np.ndarray
    name: str | None = None

    def __len__(self) -> int:
        return len(self.samples)


NO_PROMPT = Prompt(np.zeros(0, np.float32))


def read_prompts(audio: Any, *, sampling_rate: int | None, model_rate: int, limit: int) -> list[Prompt]:
    """Read the prompts that a caller gives, one per song.

    A recording is a path; bytes or a binary file; `{"array", "sampling_rate"}` or `{"bytes", "path"}` as in datasets;
    a decoder of torchcodec; `(samples, rate)` or `(rate, samples)`; or samples `[T]`. If it must be one recording, the
    shorter of two dimensions are channels, which are averaged. An array without a rate is `[T]`, a batch `[B, T]` or
    `[B, C, T]`, or a recording `[T, C]` of at most 64 channels.

    Args:
        audio: A recording, or a list with one per song.
        sampling_rate: Rate in Hz of samples that come without one; by default the model's, with a warning.
        model_rate: Rate of the result in Hz.
        limit: Maximum length of each prompt, in samples at the model's rate.

    Returns:
        One prompt per song, at most `limit` samples long.

    Raises:
        OSError: a file is missing or cannot be read, or an address is given instead.
        ValueError: `audio` has another form, or two rows `[2, T]` look like the channels of one recording.
    """
    reader = _Reader(sampling_rate, model_rate, limit)
    if _is_recording(audio):
        prompts = reader.recording_or_batch(audio)
    elif isinstance(audio, Sequence):
        if audio and all(isinstance(each, int | float | np.number) for each in audio):
            raise ValueError(
                "A list holds one prompt per song, not samples; give numpy.array(samples, 'float32') and sampling_rate."
            )
        prompts = [reader.recording(each) for each in audio]
    else:
        raise ValueError(_not_audio(audio))
    if reader.assumed_rate:
        warnings.warn(
            f"Samples without a rate are treated as {model_rate} Hz, the rate of the model; give sampling_rate if they "
            "have another.",
            UserWarning,
            stacklevel=3,
        )
    if len(prompts) > 1:
        prompts = [replace(each, name=each.name or f"prompt {number}") for number, each in enumerate(prompts)]
    for prompt, remark in zip(prompts, reader.remarks, strict=True):
        if remark is not None:
            name = "The prompt" if prompt.name is None else f"The prompt {prompt.name}"
            warnings.warn(f"{name} {remark}", UserWarning, stacklevel=3)
    return prompts


class _Reader:
    """Reader of recordings; `remarks` collects the problem with the level of each, or None."""

    def __init__(self, sampling_rate: int | None, model_rate: int, limit: int) -> None:
        self.sampling_rate = None if sampling_rate is None else _rate(sampling_rate)
        self.model_rate = model_rate
        self.limit = limit
        self.assumed_rate = False
        self.remarks: list[str | None] = []

    def recording_or_batch(self, audio: Any) -> list[Prompt]:
        """Read a recording, or an array that may hold several."""
        if not isinstance(audio, np.ndarray | torch.Tensor):
            return [self.recording(audio)]
        return [self._prompt(song, None, None) for song in split_songs(to_array(audio))]

    def recording(self, audio: Any) -> Prompt:
        """Read one recording."""
        if isinstance(audio, np.ndarray | torch.Tensor):
            return self._prompt(channels_first(to_array(audio)), None, None)
        if isinstance(audio, Mapping):
            return self._mapping(audio)
        if callable(getattr(audio, "get_all_samples", None)):
            samples = audio.get_all_samples()
            return self._prompt(channels_first(to_array(samples.data)), samples.sample_rate, None)
        if (pair := _pair(audio)) is not None:
            return self._prompt(channels_first(to_array(pair[0])), pair[1], None)
        if _is_recording(audio):
            return self._file(audio)
        raise ValueError(_not_audio(audio))

    def _mapping(self, audio: Mapping[str, Any]) -> Prompt:
        path = audio.get("path")
        name = None if path is None else base_name(path)
        for key in ("array", "raw"):
            if audio.get(key) is not None:
                return self._prompt(channels_first(to_array(audio[key])), audio.get("sampling_rate"), name)
        content = audio.get("bytes")
        if content is None and path is None:
            raise ValueError(
                f"A prompt as a dict needs array and sampling_rate, or bytes or path; it has {listed(map(str, audio))}."
            )
        prompt = self._file(path if content is None else content)
        return replace(prompt, name=name or prompt.name)

    def _file(self, source: Any) -> Prompt:
        """Read a path, the bytes of a file, or an open one."""
        name = None
        if isinstance(source, str | os.PathLike):
            check_no_address(source)
            source, name = user_path(source), base_name(source)
        elif not isinstance(source, bytes | bytearray | memoryview):
            name = base_name(source.name) if isinstance(getattr(source, "name", None), str) else None
            source = _seekable(source)
        duration = self.limit / self.model_rate
        samples = read_audio(source, self.model_rate, duration_in_s=duration)[: self.limit]
        self.remarks.append(level_remark(samples, source, duration))
        return Prompt(samples, name)

    def _prompt(self, samples: np.ndarray, rate: Any, name: str | None) -> Prompt:
        """Mix samples `[T]` or `[C, T]`."""
        if rate is not None and self.sampling_rate not in (None, _rate(rate)):
            raise ValueError(
                f"sampling_rate is {self.sampling_rate}, but a prompt comes with its own rate of {_rate(rate)}; leave "
                "sampling_rate out."
            )
        rate = self.sampling_rate if rate is None else _rate(rate)
        if rate is None:
            self.assumed_rate, rate = True, self.model_rate
        channels = np.atleast_2d(prepare_audio(samples, rate, self.model_rate))[:, : self.limit]
        mixed = np.ascontiguousarray(channels.mean(0, dtype=np.float32))
        remark = level_remark(mixed)
        if remark is not None and level_remark(channels.flatten()) is None:
            remark = CHANNELS_CANCEL
        self.remarks.append(remark)
        return Prompt(mixed, name)


def check_no_address(path: str | os.PathLike[str]) -> None:
    """Refuse an address in place of a path.

    Raises:
        OSError: it is one.
    """
    if address := re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):
        raise OSError(f"{path} is an address ({address[0]}...), not a file; download it first and give its path.")


def _is_recording(audio: Any) -> bool:
    """Return whether this is one prompt, not a list of them."""
    is_file = callable(getattr(audio, "read", None)) or callable(getattr(audio, "get_all_samples", None))
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Mapping, np.ndarray, torch.Tensor)
    return is_file or isinstance(audio, kinds) or _pair(audio) is not None


def _pair(audio: Any) -> tuple[Any, Any] | None:
    """Return `(samples, rate)` from a pair in either order; None if this is not such a pair."""
    if not isinstance(audio, tuple | list) or len(audio) != 2:
        return None
    arrays = [isinstance(each, np.ndarray | torch.Tensor) and each.ndim > 0 for each in audio]
    numbers = [isinstance(each, int | float | np.number) and not isinstance(each, bool) for each in audio]
    if arrays[0] and numbers[1]:
        return audio[0], audio[1]
    if arrays[1] and numbers[0]:
        return audio[1], audio[0]
    return None


def _rate(value: Any) -> int:
    try:
        rate = operator.index(value) if not isinstance(value, float | np.floating) else int(value)
    except (TypeError, ValueError, OverflowError):
        rate = 0
    if rate < 1 or rate != value or isinstance(value, bool):
        raise ValueError(f"A sampling rate must be a positive whole number of Hz, not {value!r}.")
    return rate


def _seekable(file: Any) -> BinaryIO:
    """Return an open file that can be read from its beginning."""
    if isinstance(file, io.TextIOBase):
        raise ValueError("A prompt as an open file must be opened in binary mode, 'rb'.")
    seekable: Callable[[], bool] | None = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        content = file.read()
        if not isinstance(content, bytes):
            raise ValueError("A prompt as an open file must be opened in binary mode, 'rb'.")
        return io.BytesIO(content)
    return cast(BinaryIO, file)


def base_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file, as text that is valid UTF-8."""
    return os.fsencode(Path(path).name).decode("utf-8", "replace")


def _not_audio(audio: Any) -> str:
    return (
        f"A prompt must be a path, an array, (samples, rate), a dict with array and sampling_rate, bytes or an open "
        f"file, not {type(audio).__name__}."
    )
