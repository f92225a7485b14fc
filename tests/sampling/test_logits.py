import pytest
import torch

from hf_jukebox.sampling.logits import sample_from_logits, uniform_noise
from hf_jukebox.sampling.options import SamplingSettings

EVEN = torch.linspace(0, 1, 20001)[:-1]  # noise that visits the whole unit interval


def shares(logits: list[float], settings: SamplingSettings) -> list[float]:
    """Return the frequency of each code over evenly spread noise."""
    rows = torch.tensor(logits).expand(len(EVEN), -1)
    return (torch.bincount(sample_from_logits(rows, EVEN, settings), minlength=len(logits)) / len(EVEN)).tolist()


def test_codes_are_sampled_as_often_as_they_are_likely() -> None:
    logits = [0.1, -1.0, 2.0, 0.5]
    for temperature in (0.5, 1.0, 2.0):
        expected = (torch.tensor(logits) / temperature).softmax(0).tolist()
        assert shares(logits, SamplingSettings(temperature)) == pytest.approx(expected, abs=2e-4)


def test_top_k_keeps_the_likeliest_and_their_ties() -> None:
    logits = [1.0, 3.0, 1.0, 0.0]
    assert shares(logits, SamplingSettings(1.0, top_k=1)) == [0, 1, 0, 0]
    assert [share > 0 for share in shares(logits, SamplingSettings(1.0, top_k=2))] == [True, True, True, False]
    assert shares(logits, SamplingSettings(1.0, top_k=99)) == shares(logits, SamplingSettings(1.0))


def test_top_p_keeps_codes_until_their_sum_first_exceeds_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert [share > 0 for share in shares(logits, SamplingSettings(1.0, top_p=0.6))] == [True, True, False, False]
    assert [share > 0 for share in shares(logits, SamplingSettings(1.0, top_p=0.85))] == [True, True, True, False]
    assert [share > 0 for share in shares(logits, SamplingSettings(1.0, top_p=1e-6))] == [True, False, False, False]


def test_the_largest_noise_still_samples_a_possible_code() -> None:
    logits = torch.full((1, 2048), -1e4)
    logits[0, 7] = 0.0
    almost_one = torch.tensor([1 - 2**-24])
    assert sample_from_logits(logits, almost_one, SamplingSettings(0.99)).tolist() == [7]
    assert sample_from_logits(torch.randn(64, 2048), almost_one.expand(64), SamplingSettings(1.0, top_k=3)).max() < 2048


@pytest.mark.parametrize("top_p", [0.0, 0.5])
def test_the_lowest_temperature_samples_the_likeliest_code(top_p: float) -> None:
    logits, settings = 1000 * torch.randn(64, 2048), SamplingSettings(1e-30, top_p=top_p)
    assert torch.equal(sample_from_logits(logits, torch.rand(64), settings), logits.argmax(-1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "sample greedily use `temperature=1` and `top_k=1`"),
        ({"temperature": 1e-40}, "sample greedily use `temperature=1` and `top_k=1`"),
        ({"temperature": -1.0}, "at least 1e-30"),
        ({"temperature": float("nan")}, "at least 1e-30"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": 5, "top_p": 0.5}, "not both"),
    ],
)
def test_unusable_settings_are_rejected(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**settings)


def test_noise_depends_on_seed_song_level_and_position_alone() -> None:
    keys = [(1, 0), (1, 1), (2, 0)]
    noise = uniform_noise(keys, level=2, total=50)
    assert noise.shape == (3, 50)
    assert noise.min() >= 0 and noise.max() < 1
    assert torch.equal(noise[1:2], uniform_noise(keys[1:2], level=2, total=50))
    assert torch.equal(noise[:, :20], uniform_noise(keys, level=2, total=20))
    rows = [*noise, *uniform_noise(keys, level=1, total=50)]
    assert all(not torch.equal(a, b) for i, a in enumerate(rows) for b in rows[:i])
