"""Sampling from one prior and scoring with it, without a pipeline."""

import math
from typing import Any

import pytest
import torch
from helpers.random_priors import random_inputs, random_prior
from helpers.tiny import codes_in_s, tiny_pipeline, tiny_prior

from hf_jukebox.sampling.logits import SamplingSettings
from hf_jukebox.sampling.single_prior import rate_codes, sample_codes, score_codes

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


def test_what_rows_begin_with_is_checked_before_sampling() -> None:
    prior, upsampler = tiny_prior("tiny_prior"), tiny_prior("tiny_upsampler")
    codes = torch.zeros(2, 8, dtype=torch.long)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"prefix": codes + 0.7}, "`prefix` must be whole numbers, not torch.float32"),
        ({"prefix": codes + 9999}, "`prefix` must lie between 0 and 63"),
        ({"prefix": codes - 1}, "`prefix` must lie between 0 and 63"),
        ({"prefix": codes[0]}, r"`prefix` must be \[B, T\], .* give one row as `prefix\[None\]`"),
        ({"prefix": codes[:0]}, "`batch_size` must be at least 1, not 0"),
        ({"prefix": codes, "length": 7}, "`prefix` has 8 codes, but `length` is 7, which includes them; increase it"),
        ({"prefix": codes, "batch_size": 3}, "3 by `batch_size` and 2 by `prefix`; give as many everywhere"),
        ({"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
        ({"batch_size": 1.5}, "`batch_size` must be a whole number"),
        ({"seed": -1}, "`seed` must be at least 0, not -1"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
        ({"length": -1}, "`length` must be at least 0, not -1"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            sample_codes(prior, **({"length": 16} | arguments))
    for upper, message in (
        (codes[:1], "2 by `prefix` and 1 by `upper_codes`"),
        (codes[0], "`upper_codes` must be"),
        (codes + 64, "`upper_codes` must lie between 0 and 63"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_codes(upsampler, 16, prefix=codes, upper_codes=upper)


def test_a_prefix_of_any_whole_numbers_or_as_long_as_the_piece_is_kept() -> None:
    prior = tiny_prior("tiny_prior")
    whole = sample_codes(prior, 80, batch_size=2)
    for dtype in (torch.int32, torch.uint8):
        assert torch.equal(sample_codes(prior, 80, prefix=whole[:, :70].to(dtype), batch_size=2), whole)
    assert torch.equal(sample_codes(prior, 80, prefix=whole), whole)
    assert sample_codes(prior, 0).shape == (1, 0)


def test_codes_to_score_are_checked() -> None:
    prior, upsampler = tiny_prior("tiny_prior"), tiny_prior("tiny_upsampler")
    codes = torch.zeros(2, 8, dtype=torch.long)
    for score in (score_codes, rate_codes):
        for given in (codes[0], codes + 64, codes.float()):
            with pytest.raises(ValueError, match=r"^`codes` must "):
                score(prior, given)
            with pytest.raises(ValueError, match=r"^`upper_codes` must "):
                score(upsampler, codes, upper_codes=given)
    assert torch.equal(score_codes(prior, codes.int()), score_codes(prior, codes))


@pytest.mark.parametrize("hop", [-3, 0, N_CTX + 1, N_CTX + 10])
def test_a_hop_of_no_code_or_more_than_a_window_is_refused(hop: int) -> None:
    prior, codes = tiny_prior("tiny_prior"), torch.zeros(1, 3 * N_CTX, dtype=torch.long)
    for act in (
        lambda: sample_codes(prior, 3 * N_CTX, hop=hop),
        lambda: score_codes(prior, codes, hop=hop),
        lambda: rate_codes(prior, codes, hop=hop),
    ):
        with pytest.raises(
            ValueError, match=f"`hop` must lie between 1 and the window .*, {N_CTX} codes, but is {hop}"
        ):
            act()
    with pytest.raises(ValueError, match="`hop` must be a whole number"):
        score_codes(prior, codes, hop=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("hop", [1, N_CTX])
def test_the_shortest_and_the_longest_hop_score_every_code(hop: int) -> None:
    prior = tiny_prior("tiny_prior")
    codes = sample_codes(prior, N_CTX + 5, hop=hop)
    assert score_codes(prior, codes, hop=hop).shape == codes.shape


@pytest.mark.parametrize("name", ["folded", "labelled_upsampler"])
def test_no_codes_have_empty_scores(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    conditioning = {"upper_codes": inputs.upper_codes, "labels": inputs.labels}
    bits = score_codes(prior, inputs.codes[:, :0], **conditioning)
    rated = rate_codes(prior, inputs.codes[:, :0], **conditioning)
    assert {each.shape for each in (bits, rated.bits, rated.ranks, rated.entropy)} == {(2, 0)}
    assert [each.dtype for each in (bits, rated.ranks, rated.entropy)] == [torch.float32, torch.int64, torch.float32]


@pytest.mark.parametrize("name", ["folded", "labelled", "lyrics_order_8", "labelled_upsampler"])
def test_the_mean_score_of_a_window_is_the_loss_of_its_codes(name: str) -> None:
    prior = random_prior(name)
    inputs = random_inputs(prior.config)
    bits = score_codes(prior, inputs.codes, upper_codes=inputs.upper_codes, labels=inputs.labels)
    with torch.no_grad():
        loss = prior(inputs.codes, inputs.upper_codes, inputs.labels).code_loss
    assert bits.shape == inputs.codes.shape
    torch.testing.assert_close(bits.mean(), loss)


def test_scores_can_be_used_in_a_loss() -> None:
    """Autograd refuses tensors that are made in inference mode."""
    prior = random_prior("folded")
    codes = random_inputs(prior.config).codes
    scores = rate_codes(prior, codes)
    for each in (score_codes(prior, codes), scores.bits, scores.entropy, scores.ranks):
        assert not each.is_inference() and not each.requires_grad
        weights = torch.ones(codes.shape, requires_grad=True)
        (each * weights).sum().backward()
        assert torch.equal(weights.grad, each.float())


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
