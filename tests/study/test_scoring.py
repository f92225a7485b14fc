"""Likelihoods: bits per code over time, and labels compared by them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.golden import golden_pipeline_folder
from helpers.refusals import refusal
from helpers.tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline
from safetensors.torch import load_file

from hf_jukebox import JukeboxPipeline
from hf_jukebox.audio import read_audio, write_audio
from hf_jukebox.study.scoring import LabelPosterior

N_CTX = 64  # of every tiny prior
RATIO = {2: 1, 1: 4, 0: 16}  # codes per top-level code


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    return noise_audio(codes_in_s(100.5)).numpy()


def label_rows(pipe: JukeboxPipeline, total: int, offset: int, artist: int = 0, genre: int = 0) -> torch.Tensor:
    return torch.tensor([[total, offset, N_CTX * TOP_HOP, artist, genre]])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_bits_of_whole_windows_are_the_loss_of_forward(pipe: JukeboxPipeline, song: np.ndarray, level: int) -> None:
    song = song[: 64 * TOP_HOP]
    codes = pipe.vqvae.encode(tensor(song))
    (score,) = pipe.score(song, levels=level, hop_fraction=1.0, sampling_rate=RATE)
    losses = []
    for start in range(0, 64 * RATIO[level], N_CTX):
        window = codes[level][:, start : start + N_CTX]
        upper = None if level == 2 else codes[level + 1][:, start // 4 : (start + N_CTX) // 4]
        labels = label_rows(pipe, RATE, start * TOP_HOP) if level == 2 else None
        with torch.no_grad():
            losses.append(pipe.priors[level](window, upper, labels).loss.item())
    assert score.levels[level].bits.shape == (64 * RATIO[level],)
    np.testing.assert_allclose(score.levels[level].total_bits, N_CTX * sum(losses), rtol=1e-5)
    np.testing.assert_allclose(score.levels[level].bits_per_code, np.mean(losses), rtol=1e-5)


def test_golden_losses(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "fixtures" / "golden" / "openai"
    expected = load_file(golden / "small_prior_expected.safetensors")
    pipe = JukeboxPipeline.from_pretrained(golden_pipeline_folder("small_prior", tmp_path))
    scores = pipe.score(codes=[None, None, expected["z_0"]])
    mean = np.mean([score.levels[2].bits_per_code for score in scores])
    np.testing.assert_allclose(mean, expected["gen_loss_0"].item(), rtol=1e-5)


def test_overlapping_windows_score_a_code_in_the_first_that_holds_it(pipe: JukeboxPipeline, song: np.ndarray) -> None:
    codes = pipe.vqvae.encode(tensor(song), levels=[2])[0][:, :100]
    (score,) = pipe.score(song, levels=2, sampling_rate=RATE, artist="night bus", genre="rock")
    assert (score.name, score.duration) == ("recording 0", codes_in_s(100))
    expected = np.zeros(100, np.float32)
    for start in (36, 32, 0):
        labels = label_rows(pipe, RATE, start * TOP_HOP, artist=2, genre=1)
        window = codes[:, start : start + N_CTX]
        with torch.no_grad():
            logits = pipe.prior_2(window, labels=labels).logits[0]
        bits = -logits.log_softmax(-1).gather(-1, window[0, :, None])[:, 0] / math.log(2)
        expected[start : start + N_CTX] = bits
    np.testing.assert_allclose(score.levels[2].bits, expected, rtol=1e-4, atol=1e-5)


def test_ranks_and_entropy_are_those_of_the_logits(pipe: JukeboxPipeline, song: np.ndarray) -> None:
    codes = pipe.vqvae.encode(tensor(song), levels=[2])[0][:, :N_CTX]
    (score,) = pipe.score(codes=[None, None, codes])
    with torch.no_grad():
        logits = pipe.prior_2(codes, labels=label_rows(pipe, RATE, 0)).logits[0]
    order = logits.argsort(dim=-1, descending=True)
    ranks = (order == codes[0, :, None]).nonzero()[:, 1]
    assert np.array_equal(score.levels[2].ranks, ranks.numpy())
    entropy = torch.distributions.Categorical(logits=logits).entropy() / math.log(2)
    np.testing.assert_allclose(score.levels[2].entropy, entropy.numpy(), rtol=1e-4, atol=1e-5)


def test_the_curve_averages_the_codes_that_begin_in_each_second(pipe: JukeboxPipeline, song: np.ndarray) -> None:
    (score,) = pipe.score(song, sampling_rate=RATE)
    assert list(score.levels) == [0, 1, 2]
    for level, each in score.levels.items():
        assert each.bits.shape == (100 * RATIO[level],)
        curve = each.curve(codes_in_s(10))
        np.testing.assert_allclose(curve, each.bits.reshape(10, -1).mean(1), rtol=1e-5)
    assert len(score.levels[2].curve()) == 1  # 0.58 s
    assert "one code takes" in refusal(lambda: score.levels[2].curve(0.001))


def test_codes_of_a_run_are_scored_like_audio(pipe: JukeboxPipeline, song: np.ndarray, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", song, RATE)
    (by_path,) = pipe.score(str(tmp_path / "a.wav"), levels=(1, 2))
    from_file = noise_from(tmp_path / "a.wav")
    codes = pipe.vqvae.encode(from_file)
    first, second = pipe.score(codes=[None, *(torch.cat([each, each.roll(1, 1)]) for each in codes[1:])])
    assert (first.name, second.name, by_path.name) == ("song 0", "song 1", "a.wav")
    for level in (1, 2):
        assert np.array_equal(first.levels[level].bits, by_path.levels[level].bits)
        assert not np.array_equal(second.levels[level].bits, by_path.levels[level].bits)


def test_scores_of_a_pipeline_on_disk_are_the_same(pipe: JukeboxPipeline, song: np.ndarray, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    on_disk = JukeboxPipeline.from_pretrained(tmp_path / "model", low_memory=True)
    (expected,), (found,) = (each.score(song, sampling_rate=RATE) for each in (pipe, on_disk))
    for level in range(3):
        assert np.array_equal(found.levels[level].bits, expected.levels[level].bits)


# Labels ----------------------------------------------------------------------------------------------------------


def test_labels_are_compared_by_the_bits_that_they_cost(pipe: JukeboxPipeline, song: np.ndarray) -> None:
    (posterior,) = pipe.compare_labels(song, "genre", sampling_rate=RATE, artist="night bus")
    assert posterior.labels == ["deep house", "rock"] and posterior.bits.shape == (2, 100)
    for row, genre in enumerate(posterior.labels):
        (score,) = pipe.score(song, levels=2, sampling_rate=RATE, artist="night bus", genre=genre)
        np.testing.assert_allclose(posterior.bits[row], score.levels[2].bits, rtol=1e-5)
    difference = posterior.bits[0].sum() - posterior.bits[1].sum()
    np.testing.assert_allclose(posterior.whole, [1 / (1 + 2.0**difference), 1 / (1 + 2.0**-difference)], rtol=1e-3)
    assert posterior.best == posterior.labels[int(difference > 0)]
    stretches = posterior.over_time(codes_in_s(10))
    tenth = posterior.bits[:, 90:].sum(1, dtype=np.float64)
    np.testing.assert_allclose(stretches[9], 2.0**-tenth / (2.0**-tenth).sum(), rtol=1e-4)
    np.testing.assert_allclose(stretches.sum(1), 1)
    np.testing.assert_allclose(posterior.so_far(codes_in_s(10))[-1], posterior.whole, rtol=1e-5)


def test_several_levels_multiply_their_likelihoods(pipe: JukeboxPipeline, song: np.ndarray) -> None:
    names = ["the lanterns", "night bus"]
    arguments = {"compare": "artist", "names": names, "levels": 2, "sampling_rate": RATE}
    (top,) = pipe.compare_labels(song, **arguments)
    (both,) = pipe.compare_labels(song, **arguments | {"levels": (1, 2)})
    (score,) = pipe.score(song, levels=1, sampling_rate=RATE)  # this upsampler has no labels
    expected = top.bits + score.levels[1].bits.reshape(-1, 4).sum(1)
    np.testing.assert_allclose(both.bits, expected, rtol=1e-5)
    np.testing.assert_allclose(both.whole, top.whole, rtol=1e-3)


def test_a_posterior_of_very_unlikely_music_is_still_one() -> None:
    posterior = LabelPosterior("a", "genre", ["rock", "jazz"], np.array([[5000.0], [5001.0]], np.float32), 1.0)
    np.testing.assert_allclose(posterior.whole, [2 / 3, 1 / 3])
    np.testing.assert_allclose(posterior.over_time(1.0), [[2 / 3, 1 / 3]])


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("score", {"levels": 3}, "Level 3 has no prior"),
        ("score", {"hop_fraction": 2}, "hop_fraction"),
        ("score", {"total_length_in_s": 0.2, "offset_in_s": 0.1}, "total_length_in_s"),
        ("compare_labels", {"compare": "mood"}, "compare must be 'artist' or 'genre'"),
        ("compare_labels", {"names": ["rock", "polka"]}, "was not trained with the genre 'polka'"),
        ("compare_labels", {"names": ["rock"]}, "at least two genres"),
        ("compare_labels", {"levels": 1}, "at least two genres"),
    ],
)
def test_wrong_arguments_are_refused(
    pipe: JukeboxPipeline, song: np.ndarray, method: str, arguments: dict[str, object], message: str
) -> None:
    assert message in refusal(lambda: getattr(pipe, method)(song, sampling_rate=RATE, **arguments))


def test_missing_input_is_named(pipe: JukeboxPipeline) -> None:
    assert "Give either recordings as audio, or codes" in refusal(pipe.score)
    top = torch.zeros(1, 4, dtype=torch.long)
    assert "no codes of level 2" in refusal(lambda: pipe.score(codes=[None, top, None], levels=1))
    assert "none.wav" in refusal(lambda: pipe.score("none.wav"))


def tensor(song: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(song)[None]


def noise_from(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_audio(path, RATE).copy())[None]
