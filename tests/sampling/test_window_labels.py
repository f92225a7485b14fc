"""Label rows of a prior's windows."""

import pytest
import torch
from helpers.tiny import NAMES, tiny_prior

from hf_jukebox import JukeboxTokenizer
from hf_jukebox.sampling.request import SongConditioning
from hf_jukebox.sampling.window_labels import WindowLabels

CONFIG = tiny_prior("tiny_lyrics_prior", **NAMES).config
HOP = CONFIG.hop_length
SONG = {"artist": "night bus", "genre": "rock", "lyrics": "we hung the lanterns by the shore and counted every one"}


def test_rows_are_those_of_the_tokenizer_at_the_level_and_window_of_the_prior() -> None:
    labels = WindowLabels.from_config(CONFIG)
    rows = labels(total_length=200 * HOP, offset=32 * HOP, **SONG)
    level = {"level": CONFIG.level, "window_length": CONFIG.window_length}
    expected = labels.tokenizer(total_length=200 * HOP, offset=32 * HOP, **level, **SONG)["labels"]
    assert torch.equal(rows, expected)
    assert rows.shape == (1, CONFIG.label_length)
    columns = CONFIG.label_columns
    assert rows[0, columns.timing].tolist() == [200 * HOP, 32 * HOP, CONFIG.window_length]
    assert rows[0, columns.artist] == 2


def test_lyric_indices_are_the_characters_of_the_rows() -> None:
    labels = WindowLabels.from_config(CONFIG)
    window = {"total_length": 200 * HOP, "offset": 32 * HOP, "lyrics": SONG["lyrics"]}
    (tokens,), (indices,) = labels(**window)[:, CONFIG.label_columns.lyrics], labels.lyric_indices(**window)
    text = labels.tokenizer.clean_lyrics(SONG["lyrics"], level=CONFIG.level)
    read = [CONFIG.alphabet[token - 1] for token in tokens.tolist() if token]
    assert read == [text[index] for index in indices.tolist() if index >= 0]


def test_windows_of_songs_start_at_their_codes() -> None:
    labels = WindowLabels.from_config(CONFIG)
    songs = [SongConditioning(**SONG, total_length=300 * HOP, offset=offset, key=(0, 0)) for offset in (0, 10 * HOP)]
    rows = labels.for_songs(songs, [64, 32])
    assert torch.equal(rows[:1], labels(total_length=300 * HOP, offset=64 * HOP, **SONG))
    assert torch.equal(rows[1:], labels(total_length=300 * HOP, offset=42 * HOP, **SONG))


def test_a_tokenizer_without_names_for_the_level_is_rejected() -> None:
    with pytest.raises(ValueError, match="there are no names for it"):
        WindowLabels(JukeboxTokenizer({}), CONFIG)
