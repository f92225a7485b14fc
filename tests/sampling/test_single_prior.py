"""Sampling from one prior and scoring with it, without a pipeline."""

import math
from typing import Any

import pytest
import torch
from helpers.random_priors import random_inputs, random_prior
from helpers.tiny import codes_in_s, tiny_pipeline, tiny_prior

from hf_jukebox.sampling.logits import SamplingSettings
from hf_jukebox.sampling.single_prior import sample_codes, score_codes

N_CTX = 64  # of the tiny priors


def test_sampled_codes_are_those_of_a_pipeline() -> None:
    pipe = tiny_pipeline()
    out = pipe(
        audio_length_in_s=codes_in_s(80),
        num_waveforms_per_prompt=2,
        generator=torch.Generator().manual_seed(3),
        temperature=0.9,
        hop_fraction=0.5,
        levels=(2, 1),
        output_type="latent",
    )
    seed = int(torch.randint(2**63 - 1, (1,), generator=torch.Generator().manual_seed(3)))
    settings = SamplingSettings(temperature=0.9)
    top = sample_codes(pipe.prior_2, 80, batch_size=2, seed=seed, settings=settings)
    assert torch.equal(top, out.codes[2])
    middle = sample_codes(pipe.prior_1, 320, upper_codes=top, seed=seed, settings=settings)
    assert torch.equal(middle, out.codes[1])


def test_a_prefix_is_kept_and_continued() -> None:
    prior = tiny_prior("tiny_prior")
    whole = sample_codes(prior, 100, batch_size=3)
    assert torch.equal(sample_codes(prior, 100, prefix=whole[:, :40]), whole)
    assert not torch.equal(sample_codes(prior, 100, batch_size=3, seed=1), whole)


def test_labels_may_depend_on_the_start_of_the_window() -> None:
    prior = random_prior("labelled")
    inputs, n_ctx = random_inputs(prior.config), prior.config.n_ctx
    other = random_inputs(prior.config, seed=1)
    settings = SamplingSettings(temperature=1, top_k=1)
    starts = []

    def labels(start: int) -> torch.Tensor:
        starts.append(start)
        return other.labels if start else inputs.labels

    changing = sample_codes(prior, n_ctx + 8, labels=labels, batch_size=2, settings=settings)
    fixed = sample_codes(prior, n_ctx + 8, labels=inputs.labels, batch_size=2, settings=settings)
    assert starts == [0, 8]
    assert torch.equal(changing[:, :n_ctx], fixed[:, :n_ctx])


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="needs upper_codes"):
        sample_codes(tiny_prior("tiny_upsampler"), 8)
    with pytest.raises(ValueError, match="needs label rows"):
        score_codes(random_prior("labelled"), torch.zeros(1, 8, dtype=torch.long))


@pytest.mark.parametrize("name", ["folded", "labelled", "lyrics_order_8", "labelled_upsampler"])
def test_the_mean_score_of_a_window_is_the_loss_of_its_codes(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    bits = score_codes(prior, inputs.codes, upper_codes=inputs.upper_codes, labels=inputs.labels)
    with torch.no_grad():
        loss = prior(inputs.codes, inputs.upper_codes, inputs.labels).code_loss
    assert bits.shape == inputs.codes.shape
    torch.testing.assert_close(bits.mean(), loss)


def test_scores_of_a_one_sequence_prior_are_normalised_over_the_codes() -> None:
    prior = random_prior("joint_lyrics")
    inputs = random_inputs(prior.config)
    bits = score_codes(prior, inputs.codes, labels=inputs.labels)
    with torch.no_grad():
        out = prior(inputs.codes, labels=inputs.labels)
    expected = -out.logits.log_softmax(-1).gather(-1, inputs.codes[..., None])[..., 0] / math.log(2)
    torch.testing.assert_close(bits, expected)
    assert bits.mean() < out.code_loss


def test_a_code_is_scored_in_the_first_window_that_holds_it() -> None:
    prior = tiny_prior("tiny_upsampler")
    generator = torch.Generator().manual_seed(0)
    codes, upper = torch.randint(64, (2, 100), generator=generator), torch.randint(64, (2, 25), generator=generator)
    bits = score_codes(prior, codes, upper_codes=upper, hop=32)
    first = score_codes(prior, codes[:, :N_CTX], upper_codes=upper[:, :16])
    last = score_codes(prior, codes[:, 36:], upper_codes=upper[:, 9:])
    torch.testing.assert_close(bits[:, :N_CTX], first)
    torch.testing.assert_close(bits[:, 96:], last[:, 60:])


@pytest.mark.parametrize(
    ("length", "hop", "starts"),
    [(66, None, [0, 4]), (76, 6, [0, 8, 12]), (77, 32, [0, 16]), (130, None, [0, 32, 64, 68])],
)
def test_a_window_sees_the_upper_codes_that_cover_it(
    monkeypatch: pytest.MonkeyPatch, length: int, hop: int | None, starts: list[int]
) -> None:
    prior, seen = tiny_prior("tiny_upsampler"), []
    prefill, upper = prior.prefill, torch.arange(40)[None]

    def recorded(state: Any, prefix: torch.Tensor, upper_codes: torch.Tensor, labels: Any) -> None:
        seen.append((prefix.shape[1], int(upper_codes[0, 0])))
        prefill(state, prefix, upper_codes, labels)

    monkeypatch.setattr(prior, "prefill", recorded)
    codes = sample_codes(prior, length, upper_codes=upper, hop=hop)
    ends = [0, *(start + N_CTX for start in starts[:-1])]
    assert seen == [(end - start, start // 4) for start, end in zip(starts, ends, strict=True)]
    bits = score_codes(prior, codes, upper_codes=upper, hop=hop)
    last = score_codes(prior, codes[:, starts[-1] :], upper_codes=upper[:, starts[-1] // 4 :])
    added = ends[-1] - starts[-1]
    torch.testing.assert_close(bits[:, starts[-1] + added :], last[:, added:])


def test_the_score_of_a_code_depends_on_no_later_code() -> None:
    prior = tiny_prior("tiny_prior")
    codes = torch.randint(64, (1, N_CTX), generator=torch.Generator().manual_seed(0))
    changed = codes.clone()
    changed[:, 30] = (codes[:, 30] + 1) % 64
    before, after = score_codes(prior, codes), score_codes(prior, changed)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.equal(before[:, 30:], after[:, 30:])


def test_likely_codes_cost_less_than_random_ones() -> None:
    prior = tiny_prior("tiny_prior")
    sampled = sample_codes(prior, N_CTX, settings=SamplingSettings(temperature=1, top_k=1))
    assert score_codes(prior, sampled).mean() < math.log2(64) < score_codes(prior, (sampled + 1) % 64).mean()
