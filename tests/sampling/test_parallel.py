"""Levels drawn as one batch of segments."""

from typing import Any

import pytest
import torch
from tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.sampling.parallel import WARM_UP, Seam, fade_seams, plan_segments

TOP_CODES = 24  # 96 codes of level 1, one window and a half; 384 of level 0, six


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


def draw(pipe: JukeboxPipeline, prompt: Any = None, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    length = codes_in_s(TOP_CODES)
    return pipe(prompt, audio_length_in_s=length, generator=generator, output_type="pt", **options)


@pytest.mark.parametrize(("total", "known"), [(384, 0), (384, 100), (384, 64), (61, 0), (64, 10), (384, 383)])
def test_segments_cover_what_is_missing_once(total, known):
    windows = [segment.window for segment in plan_segments(total, 64, 4, [known])]
    drawn = [code for window in windows for code in range(window.start + window.known, window.end)]
    assert drawn == list(range(known, total))
    assert all(window.start % 4 == 0 and window.end - window.start == min(64, total) for window in windows)
    assert all(window.known >= WARM_UP * 64 for window in windows[1:])


def test_segments_of_several_songs():
    segments = plan_segments(128, 64, 4, [0, 70])
    assert [segment.song for segment in segments] == [0, 0, 0, 1, 1]


def test_the_first_segment_is_that_of_sequential_drawing(pipe):
    parallel, sequential = draw(pipe, upsampling="parallel"), draw(pipe)
    assert torch.equal(parallel.codes[2], sequential.codes[2])  # the top level has no segments
    assert torch.equal(parallel.codes[1][:, :64], sequential.codes[1][:, :64])
    assert not torch.equal(parallel.codes[1], sequential.codes[1])


def test_codes_do_not_depend_on_how_many_are_drawn_at_a_time(pipe):
    whole, few = draw(pipe, upsampling="parallel"), draw(pipe, upsampling="parallel", max_batch_size=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, few.codes, strict=True))


def test_a_prompt_is_kept_and_gone_on_from(pipe):
    prompts = torch.stack([noise_audio(codes_in_s(9), seed) for seed in (1, 2)])
    out = draw(pipe, prompts, upsampling="parallel")
    for codes, of_prompt in zip(out.codes, pipe.vqvae.encode(prompts), strict=True):
        assert torch.equal(codes[:, : of_prompt.shape[1]], of_prompt)
    assert out.audios.shape == (2, TOP_CODES * 128) and out.audios.abs().max() <= 1


def test_an_interrupted_level_is_gone_on_with(pipe, tmp_path):
    whole = draw(pipe, upsampling="parallel", max_batch_size=1)
    draw(
        pipe,
        upsampling="parallel",
        max_batch_size=1,
        output_dir=tmp_path / "run",
        callback=lambda progress: not (progress.level == 0 and progress.done > 150),
    )
    resumed = pipe.resume(tmp_path / "run", output_type="pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, resumed.codes, strict=True))


def test_upsampling_must_be_a_known_way(pipe):
    with pytest.raises(ValueError, match="'sequential' or 'parallel'"):
        draw(pipe, upsampling="both")


def test_fading_goes_from_one_decoding_to_the_other():
    codes, seam = torch.zeros(40), Seam(20, torch.ones(8))
    audio = torch.zeros(80)
    fade_seams(audio, codes, [seam], lambda of: of.repeat_interleave(2), hop=2, fade=4)
    assert audio[:32].eq(0).all() and audio[40:].eq(0).all()
    assert audio[32] == 0 and audio[39] == 1 and audio[32:40].diff().gt(0).all()
