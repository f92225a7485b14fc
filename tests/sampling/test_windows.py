import pytest

from hf_jukebox.sampling.windows import Window, plan_windows, round_hop


def test_windows_step_by_the_hop_and_end_with_the_piece() -> None:
    assert plan_windows(total=20, n_ctx=8, hop=4, num_known=0) == [
        Window(0, 8, 0),
        Window(4, 12, 4),
        Window(8, 16, 4),
        Window(12, 20, 4),
    ]
    assert plan_windows(total=19, n_ctx=8, hop=4, num_known=0)[-1] == Window(11, 19, 5)


def test_windows_without_new_codes_are_skipped() -> None:
    assert plan_windows(total=20, n_ctx=8, hop=4, num_known=13) == [Window(8, 16, 5), Window(12, 20, 4)]
    assert plan_windows(total=20, n_ctx=8, hop=4, num_known=20) == []


def test_a_short_piece_is_a_part_of_one_window() -> None:
    assert plan_windows(total=5, n_ctx=8, hop=4, num_known=2) == [Window(0, 5, 2)]


@pytest.mark.parametrize("n_ctx", [8, 12])
@pytest.mark.parametrize("hop", [1, 3, 4, 8])
@pytest.mark.parametrize("known", [0, 5, 8, 30])
@pytest.mark.parametrize("total", [1, 8, 9, 31, 40])
def test_every_code_is_sampled_once_and_in_order(n_ctx: int, hop: int, known: int, total: int) -> None:
    sampled = []
    for window in plan_windows(total, n_ctx, hop, known):
        assert 0 <= window.start <= window.end <= total
        assert window.end - window.start <= n_ctx
        sampled += range(window.start + window.context, window.end)
    assert sampled == list(range(known, total))


def test_a_hop_is_whole_codes_of_the_level_above() -> None:
    assert round_hop(8192, 0.5, 4) == 4096
    assert round_hop(8192, 0.1, 4) == 820
    assert round_hop(32, 0.001, 4) == 4
