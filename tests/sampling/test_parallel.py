"""Levels sampled as one batch of segments."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, SamplingProgress
from hf_jukebox.files.tensors import read_tensors, write_tensors
from hf_jukebox.sampling.parallel import WARM_UP, Seam, fade_seam, plan_segments

TOP_CODES = 24  # 96 codes of level 1, one window and a half; 384 of level 0, six


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


def sample(pipe: JukeboxPipeline, prompt: Any = None, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    length = codes_in_s(TOP_CODES)
    return pipe(prompt, audio_length_in_s=length, generator=generator, output_type="pt", **options)


@pytest.mark.parametrize(("total", "known"), [(384, 0), (384, 100), (384, 64), (61, 0), (64, 10), (384, 383)])
def test_segments_cover_what_is_missing_once(total, known):
    windows = [segment.window for segment in plan_segments(total, 64, 4, [known])]
    sampled = [code for window in windows for code in range(window.start + window.context, window.end)]
    assert sampled == list(range(known, total))
    assert all(window.start % 4 == 0 and window.end - window.start == min(64, total) for window in windows)
    assert all(window.context >= WARM_UP * 64 for window in windows[1:])


def test_segments_are_planned_per_song():
    segments = plan_segments(128, 64, 4, [0, 70])
    assert [segment.song for segment in segments] == [0, 0, 0, 1, 1]


def test_the_first_segment_equals_that_of_sequential_sampling(pipe):
    parallel, sequential = sample(pipe, upsampling="parallel"), sample(pipe)
    assert torch.equal(parallel.codes[2], sequential.codes[2])  # the top level has no segments
    assert torch.equal(parallel.codes[1][:, :64], sequential.codes[1][:, :64])
    assert not torch.equal(parallel.codes[1], sequential.codes[1])


def test_codes_do_not_depend_on_the_number_of_segments_per_batch(pipe):
    whole, few = sample(pipe, upsampling="parallel"), sample(pipe, upsampling="parallel", max_batch_size=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, few.codes, strict=True))


def test_a_prompt_is_kept_and_continued(pipe):
    prompts = torch.stack([noise_audio(codes_in_s(9), seed) for seed in (1, 2)])
    out = sample(pipe, prompts, upsampling="parallel")
    for codes, of_prompt in zip(out.codes, pipe.vqvae.encode(prompts), strict=True):
        assert torch.equal(codes[:, : of_prompt.shape[1]], of_prompt)
    assert out.audios.shape == (2, TOP_CODES * 128) and out.audios.abs().max() <= 1


def stop_in_a_segment(pipe: JukeboxPipeline, folder: Path, **options: Any) -> SamplingProgress:
    """Stop a run in the middle of segments of level 0, after others are finished, and return its progress."""
    seen = []

    def stop(progress: SamplingProgress) -> bool:
        seen.append(progress)
        return [each.level for each in seen].count(0) < 100

    sample(pipe, upsampling="parallel", max_batch_size=2, output_dir=folder, callback=stop, **options)
    return seen[-1]


def test_a_level_resumes_in_the_middle_of_its_segments(pipe, tmp_path):
    whole = sample(pipe, upsampling="parallel", max_batch_size=2)
    before = stop_in_a_segment(pipe, tmp_path / "run")
    resumed: list[SamplingProgress] = []
    out = pipe.resume_run(tmp_path / "run", output_type="pt", callback=resumed.append)
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, out.codes, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole.level_audios, out.level_audios, strict=True))
    # Nothing is sampled twice, and every code counts.
    assert len(resumed) == 4 * 64 - 100  # four groups of two segments
    left = before.level_to_sample - before.level_sampled
    assert resumed[-1].sampled == resumed[-1].to_sample == left
    assert [each.filled for each in resumed] == sorted(each.filled for each in resumed)
    assert 0 < before.filled <= resumed[0].filled <= before.filled + 2
    assert resumed[-1].filled == resumed[-1].length == 384


def test_codes_finished_beyond_a_gap_are_kept(pipe, tmp_path):
    whole = sample(pipe, upsampling="parallel", max_batch_size=2)
    stop_in_a_segment(pipe, tmp_path / "run")
    for path in (tmp_path / "run" / "state").iterdir():
        path.unlink()
    resumed: list[SamplingProgress] = []
    out = pipe.resume_run(tmp_path / "run", output_type="pt", max_batch_size=1, callback=resumed.append)
    assert len(resumed) == (7 - 2) * 64  # two segments were finished
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, out.codes, strict=True))
    assert torch.equal(whole.audios, out.audios)


def test_a_folder_without_seams_is_resumed(pipe, tmp_path):
    whole = sample(pipe, upsampling="parallel", max_batch_size=2)
    stop_in_a_segment(pipe, tmp_path / "run")
    for path in (tmp_path / "run" / "codes").iterdir():
        tensors, metadata = read_tensors(path)
        write_tensors(path, {name: tensors[name] for name in ("codes", "filled")}, metadata)
    out = pipe.resume_run(tmp_path / "run", output_type="pt")
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, out.codes, strict=True))


def test_a_longer_piece_keeps_its_seams(pipe, tmp_path):
    first = sample(pipe, upsampling="parallel", output_dir=tmp_path / "run")
    longer = pipe.continue_run(tmp_path / "run", codes_in_s(TOP_CODES + 8), output_type="pt")
    unaffected = first.audios.shape[1] - 2 * TOP_HOP  # the last codes lacked what follows them
    assert torch.equal(longer.audios[:, :unaffected], first.audios[:, :unaffected])


def test_running_out_of_memory_halves_a_batch_of_segments(pipe, monkeypatch, tmp_path):
    whole = sample(pipe, upsampling="parallel")
    step, batch_sizes = pipe.prior_0.step, []

    def limited(state: Any, *args: Any) -> Any:
        if state.batch_size > 2 and len(batch_sizes) >= 30:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        batch_sizes.append(state.batch_size)
        return step(state, *args)

    monkeypatch.setattr(pipe.prior_0, "step", limited)
    out = sample(pipe, upsampling="parallel", output_dir=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, out.codes, strict=True))
    assert torch.equal(whole.audios, out.audios)
    assert set(batch_sizes[:30]) == {7} and set(batch_sizes[30:]) == {1, 2}
    assert sum(batch_sizes) == 7 * 64  # each code once: the parts resume where the whole stopped


def test_an_unknown_upsampling_is_rejected(pipe):
    with pytest.raises(ValueError, match="'sequential' or 'parallel'"):
        sample(pipe, upsampling="both")


def test_a_fade_goes_from_one_decoding_to_the_other_whatever_the_blocks():
    seam, own = Seam(20, torch.ones(8)), torch.ones(48)
    audio = fade_seam(torch.zeros(80), 0, seam, own, length=40, hop=2, fade=4)
    assert audio[:32].eq(0).all() and audio[40:56].eq(1).all() and audio[56:].eq(0).all()
    assert audio[32] == 0 and audio[39] == 1 and audio[32:40].diff().gt(0).all()
    for size in (3, 7, 19):
        parts = [
            fade_seam(torch.zeros(min(size, 40 - start) * 2), start, seam, own, length=40, hop=2, fade=4)
            for start in range(0, 40, size)
        ]
        torch.testing.assert_close(torch.cat(parts), audio)
