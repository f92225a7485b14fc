"""Conditioning of a prior: the bins of the timing, the sums of the tables, the upsampled codes."""

import pytest
import torch
from helpers.random_priors import randomize

from hf_jukebox.layers.conditioning import LabelColumns, LabelEmbedding, TimingEmbedding, UpperCodesConditioner
from hf_jukebox.layers.resnet import ResidualShape

BINS, N_CTX = 8, 16


def timing() -> TimingEmbedding:
    """Make three tables whose rows count their bins in units of 1, 100 and 10000, so that a sum identifies its rows."""
    embedding = TimingEmbedding(BINS, 1, N_CTX, min_length=1000.0, max_length=9000.0)
    tables = (embedding.total_length, embedding.absolute_position, embedding.relative_position)
    with torch.no_grad():
        for table, unit in zip(tables, (1, 100, 10000), strict=True):
            table.weight.copy_(torch.arange(BINS)[:, None] * unit)
    return embedding


def bins(total: int, offset: int, window: int) -> list[tuple[int, int, int]]:
    """(total length, absolute position, relative position) of each position of a window."""
    rows = timing()(torch.tensor([[total, offset, window]]))[0, :, 0].int().tolist()
    return [(row % 100, row // 100 % 100, row // 10000) for row in rows]


def test_timing_is_the_sum_of_length_position_and_relative_position() -> None:
    expected = []
    for position in range(N_CTX):
        place = 1100 + 3200 * position / N_CTX  # samples from the song's start
        expected.append((4, int(8 * place / 9000), int(8 * place / 5000)))  # 8 * (5000 - 1000) / 8000 = 4
    assert bins(total=5000, offset=1100, window=3200) == expected


def test_relative_positions_after_the_end_of_the_song_are_clamped() -> None:
    of_share = [share for _, _, share in bins(total=2000, offset=1000, window=4000)]
    assert of_share == [4 + position // 4 for position in range(N_CTX)]  # from a half to the whole of the song


def test_the_longest_song_stays_inside_the_tables() -> None:
    assert bins(total=8999, offset=5800, window=3200)[-1] == (7, 7, 7)


def test_timing_of_a_batch_equals_that_of_its_songs() -> None:
    labels = torch.tensor([[5000, 1100, 3200], [2000, 0, 1600]])
    together = timing()(labels)
    assert together.shape == (2, N_CTX, 1)
    assert torch.equal(together[1:], timing()(labels[1:]))


def test_the_columns_of_a_label_row_are_timing_artist_genres_and_lyrics() -> None:
    columns, row = LabelColumns(genre_words=2, n_lyrics=3), list(range(9))
    assert columns.length == len(row)
    assert row[columns.timing] == [columns.total_length, columns.offset, columns.window_length] == [0, 1, 2]
    assert (row[columns.artist], row[columns.genres], row[columns.lyrics]) == (3, [4, 5], [6, 7, 8])
    assert row[LabelColumns(genre_words=2).lyrics] == []


def test_labels_are_the_artist_and_the_sum_of_the_genres() -> None:
    embedding = LabelEmbedding(num_artists=5, num_genres=4, genre_words=3, width=6)
    randomize(embedding)
    labels = torch.tensor([[0, 0, 0, 2, 1, 3, -1], [0, 0, 0, 4, -1, -1, -1], [0, 0, 0, 0, 0, 0, 0]])
    artist, genre = embedding.artist.weight, embedding.genre.weight
    expected = torch.stack([artist[2] + genre[1] + genre[3], artist[4], artist[0] + 3 * genre[0]])
    torch.testing.assert_close(embedding(labels), expected[:, None])


@pytest.mark.parametrize("strides", [[2, 2], [2, 2, 2], [4]])
def test_upper_codes_are_upsampled_and_normalised(strides: list[int]) -> None:
    ratio = int(torch.tensor(strides).prod())
    shape = ResidualShape(width=8, depth=4, dilation_cycle=2, res_scale=True)
    conditioner = UpperCodesConditioner(11, 16, strides, shape).eval()
    codes = torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(0))
    conditioning = conditioner(codes)
    assert conditioning.shape == (2, 6 * ratio, 16)
    torch.testing.assert_close(conditioning.mean(-1), torch.zeros(2, 6 * ratio), rtol=0, atol=1e-5)


def test_upper_codes_are_zero_padded_at_both_ends() -> None:
    """The convolutions pad with zeros, so the conditioning of a window differs from a cut of that of the piece."""
    conditioner = UpperCodesConditioner(11, 16, [2, 2], ResidualShape(width=8, depth=2))
    randomize(conditioner)
    codes = torch.randint(11, (1, 24), generator=torch.Generator().manual_seed(0))
    whole, window = conditioner(codes)[:, 32:64], conditioner(codes[:, 8:16])
    assert not torch.allclose(whole, window, atol=1e-2)
