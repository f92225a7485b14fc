"""Default dtype and device of the process, which other libraries and notebooks set, do not change what is sampled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline

AUDIO = noise_audio(codes_in_s(5)).numpy()
DEFAULTS = [torch.float64, torch.bfloat16, "meta"]


@contextmanager
def default(value: Any) -> Iterator[None]:
    (torch.set_default_device if value == "meta" else torch.set_default_dtype)(value)
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def results(pipe: JukeboxPipeline, **options: Any) -> list[torch.Tensor]:
    out = pipe(AUDIO, sampling_rate=pipe.sampling_rate, audio_length_in_s=codes_in_s(24), output_type="pt", **options)
    return [*out.codes, out.audios]


@pytest.mark.parametrize("value", DEFAULTS, ids=str)
@pytest.mark.parametrize("upsampling", ["sequential", "parallel"])
def test_codes_and_audio_are_those_of_a_plain_call(tmp_path: Path, value: Any, upsampling: str) -> None:
    pipe = tiny_pipeline("tiny_lyrics_prior")
    options = {"generator": 1, "upsampling": upsampling, "artist": "night bus", "lyrics": "la la"}
    expected = results(pipe, **options)
    with default(value):
        found = results(pipe, **options, output_dir=tmp_path / "run")
        pipe(audio_length_in_s=codes_in_s(1), levels=(2,), output_type="latent")  # with a seed of its own
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.compiler
@pytest.mark.parametrize("value", [torch.float64, torch.bfloat16], ids=str)
def test_a_compiled_step_gives_the_codes_of_a_plain_call(value: Any) -> None:
    options: dict[str, Any] = {"generator": 1, "levels": (2,), "num_waveforms_per_prompt": 2}
    plain, changed = tiny_pipeline(), tiny_pipeline()
    plain.compile()
    expected = results(plain, **options)
    with default(value):
        changed.compile()
        found = results(changed, **options)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
