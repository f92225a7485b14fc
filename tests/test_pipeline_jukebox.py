"""The pipeline with real files in all modes, and its errors for wrong input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny import NAMES, RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline, tiny_prior, tiny_vqvae

from hf_jukebox import JukeboxPipeline, JukeboxPipelineOutput, JukeboxTokenizer, SamplingProgress
from hf_jukebox.labels.vocabulary import LevelVocabulary

LENGTH = codes_in_s(24)  # less than a window of the top prior, one and a half of level 1, six of level 0
GREEDY: dict[str, Any] = {"temperature": 1, "top_k": 1}


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def labelled() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codes_equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def shapes(out: JukeboxPipelineOutput) -> list[tuple[int, ...]]:
    return [tuple(codes.shape) for codes in out.codes]


# Modes ---------------------------------------------------------------------------------------------------------------


def test_ancestral_sampling_defaults_to_one_top_window(pipe: JukeboxPipeline) -> None:
    out = pipe(levels=2)
    assert out.codes[2].shape == (1, 64)
    assert out.audios.shape == (1, 64 * TOP_HOP)


def test_a_prompt_is_continued_at_every_level(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    prompt = noise_audio(codes_in_s(7.6))
    soundfile.write(tmp_path / "prompt.wav", prompt.numpy(), RATE, subtype="FLOAT")
    out = pipe(tmp_path / "prompt.wav", audio_length_in_s=LENGTH, generator=seeded())
    assert out.audios.shape == (1, 24 * TOP_HOP)
    assert out.audios.dtype == np.float32
    assert np.abs(out.audios).max() <= 1
    known = pipe.vqvae.encode(prompt[None, : 7 * TOP_HOP])
    for level, codes in enumerate(out.codes):
        assert codes.shape == (1, 24 * 16 // 4**level)
        assert torch.equal(codes[:, : known[level].shape[1]], known[level])
    assert len(out.level_audios) == 3
    assert np.array_equal(out.audios, out.level_audios[0])
    decoded = pipe.vqvae.decode(out.codes[1], level=1).clamp(-1, 1)
    assert np.array_equal(out.level_audios[1], decoded.numpy())


def test_a_prompt_may_be_a_file_an_array_or_a_tensor(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    prompts = torch.stack([noise_audio(codes_in_s(6), seed) for seed in range(2)])
    paths = [tmp_path / f"{i}.wav" for i in range(2)]
    for path, prompt in zip(paths, prompts, strict=True):
        soundfile.write(path, prompt.numpy(), RATE, subtype="FLOAT")
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(10), "levels": 2, **GREEDY}
    from_files = pipe(paths, **options).codes
    assert codes_equal(pipe([str(path) for path in paths], **options).codes, from_files)
    assert codes_equal(pipe(prompts, **options).codes, from_files)
    assert codes_equal(pipe(prompts.numpy(), **options).codes, from_files)
    assert codes_equal(pipe(list(prompts), **options).codes, from_files)
    assert torch.equal(pipe(prompts[1], **options).codes[2], from_files[2][1:])


def test_samples_at_another_rate_are_resampled(pipe: JukeboxPipeline) -> None:
    out = pipe(
        noise_audio(1.0), sampling_rate=2 * RATE, audio_length_in_s=1.0, prompt_length_in_s=1.0, levels=2, **GREEDY
    )
    known = int(0.5 * RATE) // TOP_HOP
    calls = []
    pipe(
        noise_audio(1.0),
        sampling_rate=2 * RATE,
        audio_length_in_s=1.0,
        prompt_length_in_s=1.0,
        levels=2,
        callback=lambda progress: calls.append(progress.filled),
    )
    assert out.codes[2].shape[1] == RATE // TOP_HOP
    assert calls == list(range(known + 1, RATE // TOP_HOP + 1))


def test_prompts_of_different_lengths_keep_their_own_codes(pipe: JukeboxPipeline) -> None:
    prompts = [noise_audio(codes_in_s(count), count) for count in (3, 9, 6)]
    together = pipe(prompts, audio_length_in_s=codes_in_s(12), **GREEDY)
    for row, prompt in enumerate(prompts):
        alone = pipe(prompt, audio_length_in_s=codes_in_s(12), **GREEDY)
        assert codes_equal([codes[row : row + 1] for codes in together.codes], alone.codes)


def test_continuing_an_earlier_result(pipe: JukeboxPipeline) -> None:
    first = pipe(audio_length_in_s=codes_in_s(8), generator=seeded())
    longer = pipe(codes=first.codes, audio_length_in_s=codes_in_s(20), generator=seeded())
    for before, after in zip(first.codes, longer.codes, strict=True):
        assert torch.equal(after[:, : before.shape[1]], before)
    assert longer.codes[2].shape == (1, 20)
    # Within one window, stopping and continuing samples the same codes as one call.
    whole = pipe(audio_length_in_s=codes_in_s(20), levels=2, generator=seeded())
    assert torch.equal(longer.codes[2], whole.codes[2])


def test_sampling_the_top_level_first_gives_the_same_codes(pipe: JukeboxPipeline) -> None:
    prompt = noise_audio(codes_in_s(5))
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(10), "prompt_length_in_s": codes_in_s(5)}
    whole = pipe(prompt, **options, generator=seeded())
    top = pipe(prompt, **options, levels=(2,), generator=seeded())
    assert torch.equal(top.codes[2], whole.codes[2])
    assert top.level_audios[0] is None and top.level_audios[1] is None
    assert [codes.shape[1] for codes in top.codes] == [5 * 16, 5 * 4, 10]  # only the given codes of the lower levels
    rest = pipe(codes=top.codes, levels=(0, 1), generator=seeded())
    assert codes_equal(rest.codes, whole.codes)
    bare = pipe(codes=[None, None, whole.codes[2]], generator=seeded())
    assert torch.equal(bare.codes[2], whole.codes[2])
    assert shapes(bare) == shapes(whole)


@pytest.mark.parametrize("samples", [128, 129, 255, 256, 1000, 3333])
def test_any_length_is_cut_down_to_whole_top_codes(pipe: JukeboxPipeline, samples: int) -> None:
    out = pipe(audio_length_in_s=samples / RATE)
    assert out.audios.shape == (1, samples // TOP_HOP * TOP_HOP)
    assert shapes(out) == [(1, samples // TOP_HOP * 16 // 4**level) for level in range(3)]


def test_a_two_level_model(tmp_path: Path) -> None:
    vqvae = tiny_vqvae(downs_t=[3, 2], strides_t=[2, 2], multipliers=[1, 1])
    pipe = JukeboxPipeline(
        vqvae, prior_0=tiny_prior("tiny_upsampler"), prior_1=tiny_prior("tiny_prior", level=1, hop_length=32)
    )
    pipe.set_progress_bar_config(disable=True)
    out = pipe(audio_length_in_s=640 / RATE, generator=seeded())
    assert shapes(out) == [(1, 80), (1, 20)]
    pipe.save_pretrained(tmp_path)
    loaded = JukeboxPipeline.from_pretrained(tmp_path)
    assert loaded.prior_2 is None and len(loaded.priors) == 2
    assert codes_equal(loaded(audio_length_in_s=640 / RATE, generator=seeded()).codes, out.codes)


# Repeatable, and independent of the batch ----------------------------------------------------------------------------


def test_a_generator_makes_a_run_repeatable(pipe: JukeboxPipeline) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(6)}
    first = pipe(**options, generator=seeded(1))
    assert codes_equal(pipe(**options, generator=seeded(1)).codes, first.codes)
    assert not codes_equal(pipe(**options, generator=seeded(2)).codes, first.codes)
    generator = seeded(1)
    assert codes_equal(pipe(**options, generator=generator).codes, first.codes)
    assert not codes_equal(pipe(**options, generator=generator).codes, first.codes)
    assert not codes_equal(pipe(**options).codes, pipe(**options).codes)


def test_candidates_differ_and_do_not_depend_on_the_batch(pipe: JukeboxPipeline) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(6), "num_waveforms_per_prompt": 3}
    whole = pipe(**options, generator=seeded())
    assert len({tuple(row.tolist()) for row in whole.codes[2]}) == 3
    for size in (1, 2):
        assert codes_equal(pipe(**options, generator=seeded(), max_batch_size=size).codes, whole.codes)


def test_one_generator_per_song(pipe: JukeboxPipeline) -> None:
    generators = [seeded(1), seeded(2)]
    both = pipe([noise_audio(0.1)] * 2, audio_length_in_s=codes_in_s(20), generator=generators)
    for row, seed in enumerate((1, 2)):
        alone = pipe(noise_audio(0.1), audio_length_in_s=codes_in_s(20), generator=[seeded(seed)])
        assert torch.equal(both.codes[2][row], alone.codes[2][0])


def test_candidates_of_a_prompt_lie_next_to_each_other(pipe: JukeboxPipeline) -> None:
    prompts = [noise_audio(codes_in_s(4), seed) for seed in range(2)]
    out = pipe(prompts, audio_length_in_s=codes_in_s(6), num_waveforms_per_prompt=2, levels=2)
    known = torch.cat([pipe.vqvae.encode(prompt[None])[2] for prompt in prompts])
    assert torch.equal(out.codes[2][:, :4], known[[0, 0, 1, 1]])


def test_settings_may_differ_from_level_to_level(pipe: JukeboxPipeline) -> None:
    options: dict[str, Any] = {"audio_length_in_s": codes_in_s(6)}
    greedy_below = pipe(**options, temperature=1, top_k=[1, 1, 0], generator=seeded(1))
    again = pipe(**options, temperature=1, top_k=[1, 1, 0], generator=seeded(2))
    assert not torch.equal(greedy_below.codes[2], again.codes[2])
    same_top = pipe(codes=[None, None, greedy_below.codes[2]], temperature=[1, 1, 5], top_k=1)
    assert codes_equal(same_top.codes, greedy_below.codes)


# Labels --------------------------------------------------------------------------------------------------------------


def test_labels_change_the_music_and_reach_their_own_song(labelled: JukeboxPipeline) -> None:
    options: dict[str, Any] = {"audio_length_in_s": 1.0, "levels": 2, **GREEDY}
    artists = ["the lanterns", "night bus", None]
    out = labelled(artist=artists, genre="rock", **options)
    assert len({tuple(row.tolist()) for row in out.codes[2]}) == 3
    for row, artist in enumerate(artists):
        assert torch.equal(labelled(artist=artist, genre="rock", **options).codes[2][0], out.codes[2][row])


def test_an_unknown_name_warns_with_the_closest(labelled: JukeboxPipeline) -> None:
    with pytest.warns(UserWarning, match="night bus"):
        labelled(artist="night buses", audio_length_in_s=0.1, levels=2)


def test_every_window_has_labels_of_its_own_position(
    labelled: JukeboxPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    begin = labelled.prior_2.prefill

    def spy(state: Any, prefix: torch.Tensor, upper: Any, labels: torch.Tensor) -> None:
        seen.append(labels[0, :3].tolist())
        begin(state, prefix, upper, labels)

    monkeypatch.setattr(labelled.prior_2, "prefill", spy)
    labelled(audio_length_in_s=codes_in_s(100), total_length_in_s=90, offset_in_s=2, levels=2, hop_fraction=0.5)
    window = 64 * TOP_HOP
    assert seen == [[90 * RATE, 2 * RATE + start * TOP_HOP, window] for start in (0, 32, 36)]


def test_the_tokenizer_follows_the_names_of_the_priors(labelled: JukeboxPipeline, pipe: JukeboxPipeline) -> None:
    mixed = JukeboxPipeline(pipe.vqvae, pipe.tokenizer, pipe.prior_0, pipe.prior_1, pipe.prior_2)
    assert mixed.tokenizer is None
    mixed.register_modules(prior_2=labelled.prior_2)
    assert mixed.tokenizer.artists(2) == labelled.tokenizer.artists(2)
    other = tiny_prior("tiny_labelled_prior", **{**NAMES, "artists": {"unknown": 0, "somebody else": 1}})
    mixed.register_modules(prior_2=other)
    assert "somebody else" in mixed.tokenizer.artists(2)


def test_a_tokenizer_that_does_not_fit_is_refused(labelled: JukeboxPipeline) -> None:
    wrong = JukeboxTokenizer({2: LevelVocabulary("v3", {"a": 0}, {"b": 0})}, sampling_rate=RATE)
    with pytest.raises(ValueError, match="names for level 2"):
        JukeboxPipeline(labelled.vqvae, wrong, prior_2=labelled.prior_2)


# Devices -------------------------------------------------------------------------------------------------------------


def test_offloading_brings_one_prior_at_a_time(pipe: JukeboxPipeline) -> None:
    expected = pipe(audio_length_in_s=codes_in_s(6), generator=seeded())
    offloaded = tiny_pipeline()
    offloaded.enable_model_cpu_offload(device="cpu")
    order = []
    for name in ("vqvae", "prior_0", "prior_1", "prior_2"):
        hook = getattr(offloaded, name)._hf_hook
        original = hook.pre_forward
        hook.pre_forward = lambda *args, name=name, original=original: (order.append(name), original(*args))[1]
    out = offloaded(audio_length_in_s=codes_in_s(6), generator=seeded())
    assert codes_equal(out.codes, expected.codes)
    assert order == ["prior_2", "vqvae", "prior_1", "vqvae", "prior_0", "vqvae"]


# Progress and output -------------------------------------------------------------------------------------------------


def test_the_callback_sees_every_code_and_may_stop(pipe: JukeboxPipeline) -> None:
    seen: list[SamplingProgress] = []

    def stop_early(progress: SamplingProgress) -> bool | None:
        seen.append(progress)
        return False if progress.level == 1 and progress.filled == 10 else None

    out = pipe(audio_length_in_s=codes_in_s(6), callback=stop_early)
    assert [(each.level, each.filled) for each in seen] == [(2, done) for done in range(1, 7)] + [
        (1, done) for done in range(1, 11)
    ]
    assert shapes(out) == [(1, 0), (1, 10), (1, 6)]
    assert out.level_audios[0] is None and out.audios.shape == (1, 10 * 32)


def test_output_types(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    out = pipe(audio_length_in_s=codes_in_s(3), output_type="pt", num_waveforms_per_prompt=2)
    assert isinstance(out.audios, torch.Tensor)
    (audios,) = pipe(audio_length_in_s=codes_in_s(3), return_dict=False)
    assert audios.shape == (1, 3 * TOP_HOP)
    paths = out.save(tmp_path / "out")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in paths]
    assert names == [f"level_{level}/item_{item}.wav" for level in range(3) for item in range(2)]
    written, rate = soundfile.read(paths[0], dtype="float32")
    assert rate == RATE
    assert np.abs(written - out.audios[0].numpy()).max() < 1e-4


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audio_length_in_s": 0}, "shortest piece"),
        ({"audio_length_in_s": -1}, "audio_length_in_s"),
        ({"audio_length_in_s": float("nan")}, "audio_length_in_s"),
        ({"audio_length_in_s": 0.001}, "shortest piece"),
        ({"audio_length_in_s": 650}, "longest song"),
        ({"offset_in_s": 599.9}, "longest song"),
        ({"audio_length_in_s": 0.1, "offset_in_s": 5, "total_length_in_s": 5}, "offset_in_s"),
        ({"total_length_in_s": 0.5}, "at least 1"),
        ({"total_length_in_s": 600}, "less than 600"),
        ({"temperature": 0}, "greedily"),
        ({"temperature": [1.0, 1.0]}, "3 levels"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 1.2}, "top_p"),
        ({"top_k": 2, "top_p": 0.2}, "not both"),
        ({"hop_fraction": 0}, "hop_fraction"),
        ({"hop_fraction": 1.5}, "hop_fraction"),
        ({"levels": 3}, "no prior"),
        ({"levels": ()}, "`levels` is empty"),
        ({"levels": (0,)}, "codes of level 1"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"num_waveforms_per_prompt": 0}, "num_waveforms_per_prompt"),
        ({"output_type": "mp3"}, "output_type"),
        ({"artist": []}, "empty list"),
        ({"artist": ["a", "b"], "genre": ["a", "b", "c"]}, "`artist` needs one value"),
        ({"audio": torch.zeros(2000), "audio_length_in_s": 0.05, "prompt_length_in_s": 0.09}, "longer than the piece"),
        ({"audio": torch.zeros(100)}, "one top-level code"),
        ({"audio": torch.zeros(0)}, "sample"),
        ({"audio": torch.full((2000,), float("nan"))}, "finite"),
        ({"audio": torch.zeros(2000), "codes": [None, None, None]}, "not both"),
        ({"audio": []}, "empty list"),
        ({"codes": [None, None]}, "3 levels"),
        ({"codes": [None, None, torch.full((1, 4), 64)]}, "between 0 and 63"),
        ({"codes": [None, None, torch.full((1, 4), -1)]}, "between 0 and 63"),
        ({"codes": [None, None, torch.zeros(4)]}, "integers"),
        ({"codes": [None, torch.zeros(2, 4).long(), torch.zeros(1, 4).long()]}, "integers"),
        ({"codes": [None, None, torch.zeros(1, 9).long()], "audio_length_in_s": 8 * 128 / 22050}, "longer than"),
        ({"codes": [torch.zeros(1, 999).long(), None, torch.zeros(1, 4).long()]}, "longer than"),
        ({"codes": [None, None, torch.zeros(2, 4).long()], "artist": ["a", "b", "c"]}, "2 songs"),
        ({"generator": [torch.Generator()] * 2, "artist": ["a"] * 3}, "generator"),
    ],
)
def test_bad_input_gets_one_clear_sentence(labelled: JukeboxPipeline, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        labelled(**arguments)
    assert "\n" not in str(error.value)


def test_parts_that_do_not_belong_together_are_refused(pipe: JukeboxPipeline) -> None:
    with pytest.raises(ValueError, match="hop_length"):
        JukeboxPipeline(pipe.vqvae, prior_1=tiny_prior("tiny_upsampler", level=1))
    with pytest.raises(ValueError, match="codebook_size"):
        JukeboxPipeline(pipe.vqvae, prior_2=tiny_prior("tiny_prior", codebook_size=65))
    with pytest.raises(ValueError, match="give it as prior_0"):
        JukeboxPipeline(pipe.vqvae, prior_2=pipe.prior_0)
    with pytest.raises(ValueError, match="levels 0 to 1"):
        JukeboxPipeline(tiny_vqvae(downs_t=[3, 2], strides_t=[2, 2], multipliers=[1, 1]), prior_2=pipe.prior_2)
    with pytest.raises(ValueError, match="no prior"):
        JukeboxPipeline(pipe.vqvae)()


def test_a_folder_without_a_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="model_index"):
        JukeboxPipeline.from_pretrained(tmp_path)
