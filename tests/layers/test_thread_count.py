"""The number of threads of a step follows the time that steps take."""

import random
from collections.abc import Callable

import pytest

from hf_jukebox.layers.thread_count import ThreadCount


def shares(most: int, steps: int, seconds: Callable[[int], float], threads: ThreadCount) -> dict[int, float]:
    """Run steps, of which one with n threads takes `seconds(n)`, and return how many of them had how many threads."""
    used = []
    for _ in range(steps):
        used.append(threads.for_step("step", most))
        threads.took(seconds(used[-1]))
    return {count: used.count(count) / steps for count in set(used)}


def shared(most: int, free: int, generator: random.Random) -> Callable[[int], float]:
    """Time of a step on cores of which others take all but `free`: a thread on a taken one waits for its turn."""

    def seconds(count: int) -> float:
        work = 8e-3 / count + 1e-4 * count
        return work * generator.uniform(0.95, 1.05) + (generator.uniform(0, 12e-3) if count > free else 0)

    return seconds


@pytest.mark.parametrize("most", [2, 8])
def test_threads_leave_cores_that_others_take_and_come_back(most: int) -> None:
    generator, threads = random.Random(0), ThreadCount()
    assert shares(most, 4000, shared(most, most, generator), threads)[most] > 0.95
    shares(most, 4000, shared(most, most - 1, generator), threads)
    assert shares(most, 4000, shared(most, most - 1, generator), threads)[most - 1] > 0.9
    shares(most, 4000, shared(most, most, generator), threads)
    assert shares(most, 4000, shared(most, most, generator), threads)[most] > 0.9


def test_threads_that_only_wait_are_left_out() -> None:
    threads = ThreadCount()
    used = shares(4, 8000, lambda count: 1e-3 * count, threads)
    assert used[1] > 0.8 and threads.current(4) == 1


def test_a_few_other_steps_are_passed_over() -> None:
    generator, threads, used = random.Random(0), ThreadCount(), []
    seconds = shared(2, 1, generator)
    for step in range(4000):
        is_other = step % 7 == 0
        used.append(threads.for_step("shorter" if is_other else "step", 2))
        threads.took(1e-4 if is_other else seconds(used[-1]))
    assert used[2000:].count(1) > 0.9 * 2000


def test_there_is_nothing_to_try_with_one_thread() -> None:
    assert shares(1, 1000, lambda count: 1e-3 * count, ThreadCount()) == {1: 1.0}


def test_a_trial_ends_where_other_steps_or_another_limit_begin() -> None:
    threads = ThreadCount()
    shares(2, 20, lambda count: 1.0, threads)
    assert threads.for_step("step", 2) == 1  # the trial
    threads.took(0.1)
    used = []
    for _ in range(8):
        used.append(threads.for_step("another", 2))
        threads.took(0.1)
    assert used[0] == 1 and used[-1] == threads.current(2) == 2
    assert threads.for_step("another", 1) == threads.current(1) == 1
    assert threads.for_step("another", 3) == threads.current(4) == 3
