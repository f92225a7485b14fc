"""Audio files, and prompts in many forms, to arrays and back.

Reading and writing files needs no torch; the prompts, which may be tensors, are in `audio.prompts`.
"""

from .decoding import AudioInfo, AudioSource
from .io import (
    audio_info,
    check_wav_length,
    iter_audio,
    level_remark,
    prepare_audio,
    read_audio,
    resampled_length,
    to_pcm,
    write_audio,
    write_wav,
)

__all__ = [
    "AudioInfo",
    "AudioSource",
    "audio_info",
    "check_wav_length",
    "iter_audio",
    "level_remark",
    "prepare_audio",
    "read_audio",
    "resampled_length",
    "to_pcm",
    "write_audio",
    "write_wav",
]
