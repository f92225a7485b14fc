import numpy as np
import pytest

from hf_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from hf_jukebox.training.data import ChunkPlan, ChunkSettings
from hf_jukebox.training.data.chunks import select_songs

LENGTHS = [1000, 2500, 300, 1999]


def settings(**changes):
    return ChunkSettings(**({"chunk_length": 300, "sampling_rate": 100} | changes))


def epoch(plan, number):
    return [plan.at(number * len(plan) + index) for index in range(len(plan))]


def test_without_training_the_chunks_cover_every_song_in_order():
    plan = ChunkPlan(LENGTHS, settings(), training=False)
    starts = [[chunk.start for chunk in epoch(plan, 0) if chunk.song == song] for song in range(4)]
    assert starts[0] == [0, 300, 600, 700]  # the last one ends with the song
    assert starts[1] == [0, 300, 600, 900, 1200, 1500, 1800, 2100, 2200]
    assert starts[2] == [0]
    assert [chunk.song for chunk in epoch(plan, 0)] == sorted(chunk.song for chunk in epoch(plan, 0))
    with pytest.raises(IndexError):
        plan.check(len(plan))


def test_each_epoch_has_each_chunk_once_in_its_own_order():
    plan = ChunkPlan(LENGTHS, settings())
    plain = {(chunk.song, chunk.start) for chunk in epoch(ChunkPlan(LENGTHS, settings(), training=False), 0)}
    orders = [[(chunk.song, chunk.start) for chunk in epoch(plan, number)] for number in range(3)]
    assert all(set(order) == plain and len(order) == len(plain) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_position_is_a_pure_function_of_the_seed():
    changes = {"aug_shift": True, "aug_blend": True, "seed": 7}
    plan, again = ChunkPlan(LENGTHS, settings(**changes)), ChunkPlan(LENGTHS, settings(**changes))
    positions = list(np.random.default_rng(0).permutation(5 * len(plan)))
    assert [again.at(p) for p in positions] == [plan.at(p) for p in positions]
    other = ChunkPlan(LENGTHS, settings(**changes | {"seed": 8}))
    assert [other.at(p) for p in positions] != [plan.at(p) for p in positions]


def test_shift_moves_by_up_to_half_a_chunk_within_the_song():
    plain, shifted = ChunkPlan([100_000], settings()), ChunkPlan([100_000], settings(aug_shift=True))
    moves = np.array([shifted.at(p).start - plain.at(p).start for p in range(2000)])
    assert moves.min() >= -150 and moves.max() <= 150 and abs(moves.mean()) < 8 and moves.std() > 80
    starts = [shifted.at(p).start for p in range(2000)]
    assert min(starts) >= 0 and max(starts) <= 100_000 - 300
    assert shifted.at(0) != shifted.at(len(shifted))


def test_blend_weights_the_channels_at_random_without_moving_chunks():
    plain, blended = (
        ChunkPlan(LENGTHS, settings(aug_shift=True)),
        ChunkPlan(LENGTHS, settings(aug_shift=True, aug_blend=True)),
    )
    weights = [blended.at(p).left_gain for p in range(500)]
    assert 0 <= min(weights) < 0.1 and 0.9 < max(weights) <= 1 and abs(np.mean(weights) - 0.5) < 0.05
    assert [blended.at(p).start for p in range(50)] == [plain.at(p).start for p in range(50)]
    assert all(plain.at(p).left_gain == 0.5 for p in range(50))


def test_windows_of_a_prior_start_at_codes_of_the_level_above():
    vqvae = JukeboxVQVAEConfig.from_preset("tiny_vqvae")
    upsampler = JukeboxPriorConfig.from_preset("tiny_upsampler")  # hop 8, the level above 32, on top 128
    made = ChunkSettings.for_prior(upsampler, vqvae, aug_shift=True)
    assert (made.chunk_length, made.start_multiple, made.length_multiple) == (64 * 8, 32, 128)
    plan = ChunkPlan([30_001, 22_050], made)
    chunks = [plan.at(p) for p in range(300)]
    assert all(chunk.start % 32 == 0 for chunk in chunks) and any(chunk.start % 128 for chunk in chunks)
    assert max(chunk.start for chunk in chunks if chunk.song == 0) <= 30_001 // 128 * 128 - 512


def test_a_prior_with_timing_uses_songs_of_its_durations_only():
    vqvae = JukeboxVQVAEConfig.from_preset("tiny_vqvae")
    timed = JukeboxPriorConfig.from_preset("tiny_labelled_prior", min_duration=5.0, max_duration=20.0)
    made = ChunkSettings.for_prior(timed, vqvae, min_duration=2.0, max_duration=30.0)
    assert (made.min_duration, made.max_duration) == (5.0, 20.0)
    free = ChunkSettings.for_prior(JukeboxPriorConfig.from_preset("tiny_prior"), vqvae, min_duration=2.0)
    assert (free.min_duration, free.max_duration) == (2.0, None)


def test_songs_are_left_out_by_length_and_counted():
    chosen = select_songs([1000, 299, 301, 5000, 400], [False] * 4 + [True], settings(max_duration=50))
    assert (chosen.train, chosen.validation, chosen.too_short, chosen.too_long) == ([0, 2], [4], 1, 1)
    assert str(chosen) == "2 songs to train on, 1 for validation; left out: 1 too short, 1 too long"
    rounded_up = settings(chunk_length=201)  # 2.01 s: songs need 3 s
    assert select_songs([299, 300], [False, False], rounded_up).train == [1]


def test_a_chunk_longer_than_every_song_is_refused():
    with pytest.raises(
        ValueError, match=r"No song is left.*at least 30 s, but of 2 songs 2 are shorter.*the longest is 9.00 s long"
    ):
        select_songs([900, 500], [False, True], settings(chunk_length=3000))
    with pytest.raises(ValueError, match=r"min_duration is 2 s, but a chunk of 300 samples takes 3.00 s"):
        settings(min_duration=2)
    with pytest.raises(ValueError, match="multiple of 7"):
        settings(start_multiple=7)
