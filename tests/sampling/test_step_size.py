"""The number of codes that a step tries follows the codes per second."""

import random
from collections import Counter

import pytest

from hf_jukebox.sampling.step_size import SIZES, StepSize


def used(size: StepSize, steps: int, chance: float, milliseconds_a_code: float, generator: random.Random) -> int:
    """Run steps whose guesses are right by chance, and return the size that most of the last quarter had."""
    sizes = []
    for _ in range(steps):
        sizes.append(size.current())
        num_codes = 1
        while num_codes < sizes[-1] and generator.random() < chance:
            num_codes += 1
        seconds = (10 + milliseconds_a_code * sizes[-1]) * 1e-3 * generator.uniform(0.95, 1.05)
        if generator.random() < 0.02:
            seconds += 1  # the machine does something else
        size.took(seconds, num_codes)
    return Counter(sizes[-steps // 4 :]).most_common(1)[0][0]


@pytest.mark.parametrize(
    ("chance", "milliseconds", "best"),
    [(0.95, 0.2, {16}), (0.8, 1.0, {4, 8}), (0.3, 0.5, {4}), (0.02, 0.5, {1})],
)
def test_the_fastest_size_is_found(chance: float, milliseconds: float, best: set[int]) -> None:
    assert used(StepSize(SIZES), 4000, chance, milliseconds, random.Random(0)) in best


def test_the_size_follows_the_music() -> None:
    size, generator = StepSize(SIZES), random.Random(0)
    assert used(size, 3000, 0.95, 0.2, generator) == 16
    assert used(size, 12000, 0.02, 1.0, generator) == 1
    assert used(size, 12000, 0.95, 0.2, generator) == 16


@pytest.mark.parametrize("only", SIZES)
def test_a_single_size_is_kept(only: int) -> None:
    size = StepSize((only,))
    for _ in range(200):
        assert size.current() == only
        size.took(0.01, 1)
