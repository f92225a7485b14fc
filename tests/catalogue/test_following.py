"""Agreements with a catalogue, followed code by code: the codes that would make one too long, and no others."""

from pathlib import Path

import numpy as np
import pytest
from helpers.catalogues import TOP, top_catalogue
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_jukebox.catalogue.following import CodeFollower
from hf_jukebox.catalogue.index import SEPARATOR, SHORTEST


def music(random: np.random.Generator, length: int) -> np.ndarray:
    """Return codes among which some are held for long, as in silence."""
    parts = [np.zeros(0, int)]
    while sum(map(len, parts)) < length:
        held = np.full(random.integers(3, 90), random.integers(2))
        parts.append(held if random.random() < 0.4 else random.integers(0, 4, random.integers(1, 40)))
    return np.concatenate(parts)[:length].astype(np.uint16)


def collage(random: np.random.Generator, songs: list[np.ndarray], length: int) -> np.ndarray:
    """Return stretches of songs with other music between them."""
    parts = [np.zeros(0, np.uint16)]
    while sum(map(len, parts)) < length:
        song = songs[random.integers(len(songs))]
        start = random.integers(len(song) - 50)
        parts += [song[start : start + random.integers(10, 120)], music(random, random.integers(0, 60))]
    return np.concatenate(parts)[:length]


def codes_after(songs: list[np.ndarray], last: np.ndarray) -> set[int]:
    """Return all codes that follow the codes `last` in a song."""
    found: set[int] = set()
    for song in songs:
        if len(song) > len(last):
            places = (np.lib.stride_tricks.sliding_window_view(song, len(last))[:-1] == last).all(axis=1)
            found |= set(song[len(last) :][places].tolist())
    return found


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), longest=st.integers(SHORTEST, 60))
def test_exactly_the_codes_that_would_make_an_agreement_too_long_are_named(tmp_path_factory, seed, longest):
    random = np.random.default_rng(seed)
    songs = [music(random, length) for length in (300, 60, 5, 600)]
    index = top_catalogue(tmp_path_factory.mktemp("c") / "c", songs).index(TOP)
    rows = np.stack([collage(random, [songs[0], songs[3]], 250) for _ in range(2)])
    follower = CodeFollower(index, longest, 2)
    for position in range(rows.shape[1]):
        row, codes = follower.too_long()
        for number in range(2):
            expected = codes_after(songs, rows[number, position - longest : position]) if position >= longest else set()
            assert set(codes[row == number].tolist()) == expected
        follower.observe(rows[:, position])


def test_rows_without_codes_agree_with_nothing(tmp_path: Path) -> None:
    song = np.arange(64, dtype=np.uint16)
    follower = CodeFollower(top_catalogue(tmp_path / "c", [song, song]).index(TOP), SHORTEST, 2)
    for code in song:
        follower.observe(np.array([code, SEPARATOR], np.uint16))
    assert not len(follower.too_long()[0])  # the song is over: nothing follows
    with pytest.raises(ValueError, match="at least 23 codes"):
        CodeFollower(top_catalogue(tmp_path / "d", [song]).index(TOP), SHORTEST - 1, 1)


def test_silence_is_not_followed_in_every_place_where_it_occurs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    silent = [np.concatenate([random.integers(0, 64, 40), np.full(2000, 7)]).astype(np.uint16) for _ in range(50)]
    follower = CodeFollower(top_catalogue(tmp_path / "c", silent).index(TOP), 100, 1)
    for _ in range(300):
        follower.observe(np.array([7], np.uint16))
    assert len(follower._rows) == 0 and follower.too_long()[1].tolist() == [7]
