"""Audio input and output: files to float32 arrays at a given rate, and arrays to wav or flac files.

libsndfile decodes (wav, flac, ogg and mp3, without a system ffmpeg) and soxr resamples. Inside the library audio is
mono float32, [T] or [B, T], nominally in [-1, 1].
"""

from __future__ import annotations

import io
import os
import warnings
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr

from ..files.atomic import replacing
from ..files.text import user_path
from .blocks import add_data
from .decoding import AudioInfo, AudioSource, open_audio
from .mark import mark_data

if TYPE_CHECKING:  # imported late, so that a mistyped file name is reported at once
    import torch

_WRITABLE = {".wav": "WAV", ".flac": "FLAC"}
_RESAMPLING_QUALITY = "HQ"  # 20 bits, linear phase
_MAX_BLOCK_VALUES = 2**26  # a header may hold any rate and any number of channels
_MOST_WAV_SAMPLES = (2**32 - 2**16) // 2  # of 16 bits, in a file whose sizes have 32 bits, with a margin for chunks
_SILENT, _QUIET, _TOO_LOUD = 1e-4, 0.01, 1.5  # peaks; decoding a lossy file exceeds full scale by less than the last

CHANNELS_CANCEL = "is silent once it is mixed to mono: its channels cancel out; invert one of them, or leave it out."


def audio_info(source: AudioSource) -> AudioInfo:
    """Read the length, sampling rate and channels of an audio file.

    The length is that of the readable audio, regardless of the header: the frames of an mp3 are counted, and a flac is
    decoded once if its header has no length, or if the file ends earlier than its header states.

    Raises:
        OSError: if the file is missing, is a folder or may not be read.
        ValueError: if the file is empty or is not audio.
    """
    with open_audio(source) as reader:
        return reader.info()


def read_audio(
    source: AudioSource,
    sampling_rate: int,
    *,
    offset_in_s: float = 0.0,
    duration_in_s: float | None = None,
    mix: bool = True,
    info: AudioInfo | None = None,
) -> np.ndarray:
    """Read a file, or a part of it, at `sampling_rate`.

    The part begins at frame round(offset_in_s * rate of the file) and has round(duration_in_s * rate of the file)
    frames, or fewer at the end of the file. It is decoded, mixed and resampled in blocks: only the result has to fit in
    memory.

    Args:
        source: A wav (integer or float), flac, ogg or mp3 file of any rate and number of channels: its path, its
            content as bytes, or a binary file, which is read from its beginning and left open.
        sampling_rate: Rate of the result in Hz.
        offset_in_s: Start of the part in seconds.
        duration_in_s: Length of the part in seconds; by default up to the end of the file.
        mix: Average the channels; otherwise they are kept separate.
        info: Result of [`audio_info`] for the same file. It saves indexing an mp3 again, and silences the warnings
            about an mp3 that ends earlier than its header states and about an ogg with another stream after the first.

    Returns:
        float32 [T], or [T, channels] without `mix`, where T = round(frames * sampling_rate / rate of the file).

    Raises:
        OSError: if the file is missing, is a folder or may not be read.
        ValueError: if the file is not audio, is damaged, has no samples or samples that are not finite, or if the
            requested part lies outside it.
    """
    samples = bytearray()  # grows in place: a list of blocks would need the memory twice when it is joined
    channels = 1
    part = iter_audio(source, sampling_rate, offset_in_s=offset_in_s, duration_in_s=duration_in_s, mix=mix, info=info)
    for block in part:
        channels = 1 if block.ndim == 1 else block.shape[1]
        samples += block.tobytes()
    audio = np.frombuffer(samples, dtype=np.float32)
    return audio if mix else audio.reshape(-1, channels)


def iter_audio(
    source: AudioSource,
    sampling_rate: int,
    *,
    offset_in_s: float = 0.0,
    duration_in_s: float | None = None,
    mix: bool = True,
    block_in_s: float = 10.0,
    info: AudioInfo | None = None,
) -> Iterator[np.ndarray]:
    """Yield the result of `read_audio` in blocks of about `block_in_s` seconds; joined, they are equal to it."""
    _check_sampling_rate(sampling_rate)
    if not offset_in_s >= 0:
        raise ValueError(f"`offset_in_s` must be 0 or more, got {offset_in_s}.")
    if duration_in_s is not None and not duration_in_s > 0:
        raise ValueError(f"`duration_in_s` must be positive, got {duration_in_s}; leave it out to read to the end.")
    if not block_in_s > 0:
        raise ValueError(f"`block_in_s` must be positive, got {block_in_s}.")

    with open_audio(source, info) as file:
        name, rate_in = file.name, file.sampling_rate
        if info is None and (remark := file.remark()) is not None:
            warnings.warn(f"{name} {remark}", UserWarning, stacklevel=2)
        if offset_in_s > 0:
            file.start_at(round(offset_in_s * rate_in))
        num_frames = None if duration_in_s is None else max(1, round(duration_in_s * rate_in))
        resampler = None
        if rate_in != sampling_rate:
            channels = 1 if mix else file.channels
            resampler = soxr.ResampleStream(
                rate_in, sampling_rate, channels, dtype="float32", quality=_RESAMPLING_QUALITY
            )

        block_size = max(1, min(round(block_in_s * rate_in), _MAX_BLOCK_VALUES // file.channels))
        frames = yielded = 0
        ended = False
        while not ended:
            size = block_size if num_frames is None else min(block_size, num_frames - frames)
            block = file.read(size)  # [size, channels]; shorter at the end of the file
            _check_finite(block, name)
            frames += len(block)
            ended = len(block) < block_size
            block = block.mean(axis=1) if mix else block
            if resampler is not None:
                block = resampler.resample_chunk(block, last=ended)
            if ended:
                block = _fit(block, resampled_length(frames, rate_in, sampling_rate) - yielded)
            yielded += len(block)
            if len(block):
                yield block
    if frames == 0:
        remedy = f" after {offset_in_s} s; choose a smaller `offset_in_s`" if offset_in_s else ""
        raise ValueError(f"{name} has no samples{remedy}.")
    if yielded == 0:
        raise ValueError(f"{name} is too short: {frames} samples are less than one sample at {sampling_rate} Hz.")


def level_remark(
    samples: np.ndarray, source: AudioSource | None = None, duration_in_s: float | None = None
) -> str | None:
    """Return the problem with the level of a prompt as a predicate for a message; None if there is none.

    Args:
        samples: [T], float, mixed to mono.
        source, duration_in_s: File and part that `samples` were read from. With these, channels that cancel out are
            distinguished from silence.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if peak >= _TOO_LOUD:
        return f"exceeds full scale (its peak is {peak:.1f}); scale it down to a peak of 1."
    if peak >= _QUIET:
        return None
    if peak >= _SILENT:
        return f"is very quiet (its peak is {peak:.4f}); scale it up."
    if source is not None:
        channels = read_audio(source, audio_info(source).sampling_rate, duration_in_s=duration_in_s, mix=False)
        if np.abs(channels).max() >= _QUIET:
            return CHANNELS_CANCEL
    return "is silent."


def prepare_audio(audio: np.ndarray | torch.Tensor, sampling_rate_in: int, sampling_rate_out: int) -> np.ndarray:
    """Convert an array or tensor to the models' input: float32 on the CPU, at `sampling_rate_out`.

    Args:
        audio: [T] or [B, T]; floats, or integer PCM (int16, int32, uint8), which is scaled to [-1, 1).
        sampling_rate_in: Rate of `audio` in Hz.
        sampling_rate_out: Rate of the result in Hz.

    Returns:
        float32 [T'] or [B, T'] with T' = round(T * sampling_rate_out / sampling_rate_in); never a view of `audio`.

    Raises:
        ValueError: if the shape or the type is not supported, or the audio is empty or not finite.
    """
    _check_sampling_rate(sampling_rate_in)
    _check_sampling_rate(sampling_rate_out)
    samples = _as_float32(audio)
    if samples.ndim not in (1, 2):
        raise ValueError(f"`audio` must be [T] or [B, T], got the shape {samples.shape}; mix the channels first.")
    if samples.size == 0:
        raise ValueError(f"`audio` has no samples: its shape is {samples.shape}.")
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
        raise ValueError(f"`audio` must be [T] or [B, T], got {samples.shape}: for [T, channels] pass `audio.mean(1)`.")
    _check_finite(samples, "`audio`")
    length = resampled_length(samples.shape[-1], sampling_rate_in, sampling_rate_out)
    if length == 0:
        raise ValueError(
            f"`audio` is too short: {samples.shape[-1]} samples are less than one sample at {sampling_rate_out} Hz."
        )
    if sampling_rate_in == sampling_rate_out:
        return samples
    resampled = soxr.resample(samples.T, sampling_rate_in, sampling_rate_out, quality=_RESAMPLING_QUALITY)
    return np.ascontiguousarray(_fit(resampled, length).T)


def write_audio(
    path: str | os.PathLike[str], audio: np.ndarray, sampling_rate: int, *, is_machine_made: bool = False
) -> None:
    """Write `audio` [T], clipped to [-1, 1], as 16-bit wav or flac, depending on the suffix of `path`.

    The file appears when it is complete; after a failure an older file is unchanged.

    Args:
        is_machine_made: Add the mark of audio that a machine has made.

    Raises:
        OSError: if `path` is a folder, its folder is missing, or it cannot be written.
        ValueError: if the suffix is not supported, or the audio is not [T], is empty or not finite.
    """
    path = user_path(path)
    if path.suffix.lower() not in _WRITABLE:
        raise ValueError(f"{path} must end in .wav or .flac, the formats that can be written.")
    _check_sampling_rate(sampling_rate)
    samples = _as_float32(audio)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"`audio` must be [T] with at least one sample, got the shape {samples.shape}.")
    _check_finite(samples, "`audio`")
    if path.suffix.lower() == ".wav":
        check_wav_length(len(samples), sampling_rate)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")

    encoded = io.BytesIO()
    soundfile.write(encoded, to_pcm(samples), sampling_rate, format=_WRITABLE[path.suffix.lower()], subtype="PCM_16")
    with replacing(path) as unfinished:
        # No view: with one in the traceback of an error, the garbage collector of Python 3.12.1 crashes.
        unfinished.write_bytes(encoded.getvalue())
        if is_machine_made:
            add_data(unfinished, mark_data())


def check_wav_length(num_samples: int, sampling_rate: int) -> None:
    """Refuse audio of more samples than a wav file can hold, whose sizes have 32 bits.

    Raises:
        ValueError: it is too long.
    """
    if num_samples > _MOST_WAV_SAMPLES:
        raise ValueError(
            f"{num_samples / sampling_rate:.0f} s of audio are more than a wav file holds, which is 4 GB; ask for at "
            f"most {_MOST_WAV_SAMPLES // sampling_rate} s."
        )


def write_wav(path: Path, blocks: Iterable[np.ndarray], sampling_rate: int) -> None:
    """Write blocks `[t]` of sampled audio as one marked 16-bit wav file, with only one block in memory."""
    with replacing(path) as unfinished:
        with wave.open(str(unfinished), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sampling_rate)
            for block in blocks:
                file.writeframes(to_pcm(block).astype("<i2").tobytes())
        add_data(unfinished, mark_data())


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Convert float samples, clipped to [-1, 1], to int16: the exact inverse of reading."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def resampled_length(frames: int, sampling_rate_in: int, sampling_rate_out: int) -> int:
    """Return the number of samples after resampling: the nearest whole number, as Python rounds."""
    return round(frames * sampling_rate_out / sampling_rate_in)


def _fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut the first axis to `length`, or pad it with zeros: soxr rounds halves up, so it may differ by a sample."""
    missing = max(0, length - len(samples))
    return np.pad(samples[:length], [(0, missing)] + [(0, 0)] * (samples.ndim - 1))


def _as_float32(audio: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return a float32 copy on the CPU; integer PCM is scaled by its full range."""
    samples = np.asarray(on_cpu(audio))
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype in (np.int16, np.int32):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if samples.dtype == np.uint8:
        return ((samples.astype(np.float32) - 128) / 128).astype(np.float32)
    raise ValueError(f"`audio` must be float, or int16, int32 or uint8 PCM, got {samples.dtype}.")


def on_cpu(audio: Any) -> Any:
    """Return a tensor as an array, whatever its precision and device; anything else unchanged."""
    if isinstance(audio, np.ndarray) or not hasattr(audio, "detach"):  # a tensor, recognised without importing torch
        return audio
    audio = audio.detach().cpu()
    return (audio.float() if audio.is_floating_point() else audio).numpy()


def _check_finite(samples: np.ndarray, name: str) -> None:
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} has samples that are NaN or infinite; remove them first.")


def _check_sampling_rate(sampling_rate: int) -> None:
    if not sampling_rate > 0 or sampling_rate != int(sampling_rate):
        raise ValueError(f"A sampling rate must be a positive whole number of Hz, got {sampling_rate}.")
