import unicodedata
import warnings

import pytest

from hf_jukebox import JukeboxPriorConfig
from hf_jukebox.training.data import (
    SongMetadata,
    read_alphabet,
    report_unknown,
    tables_for_fine_tuning,
    tables_from_songs,
)
from hf_jukebox.training.data.label_tables import label_row, window_labels


def song(artist, genre="", lyrics=""):
    return SongMetadata("a.wav", artist, genre, lyrics)


def config(**changes):
    return JukeboxPriorConfig.from_preset("tiny_labelled_prior", **changes)


def test_tables_of_a_new_prior_are_the_names_of_the_songs():
    songs = [song("Zoë", "Blues Rock"), song("abba", "Pop"), song("ABBA", ""), song("Unknown", "unknown")]
    tables = tables_from_songs(songs, config())
    assert tables.artists == {"abba": 1, "zoë": 2} and tables.genres == {"blues rock": 1, "pop": 2}
    assert (tables.num_artists, tables.num_genres) == (100, 10)  # the preset's rows suffice
    grown = tables_from_songs([song(f"artist {i}", f"genre {i}") for i in range(150)], config())
    assert (grown.num_artists, grown.num_genres) == (151, 151)
    prior = config()
    grown.put_into(prior)
    assert (prior.num_artists, prior.num_genres) == (151, 151) and prior.artists["artist 0"] == 1


@pytest.mark.parametrize("rules", ["v2", "v3"])
def test_spellings_of_a_name_share_a_row(rules):
    artists = ["Ella ", "ella", " ELLA", "\ufeffElla", "Beyoncé", unicodedata.normalize("NFD", "Beyoncé")]
    tables = tables_from_songs([song(artist, f" {artist}") for artist in artists], config(label_rules=rules))
    assert list(tables.artists.values()) == list(tables.genres.values()) == [1, 2]
    assert set(tables.artists) == ({"ella", "beyonc"} if rules == "v2" else {"ella", "beyoncé"})


def test_a_trailing_space_does_not_make_another_name():
    prior = config(num_artists=3, num_genres=3, artists={"808": 1, "909": 2}, genres={"house": 1, "bossa": 2})
    tables = tables_for_fine_tuning([song("808 ", "house "), song("909", "Bossa")], prior)
    assert tables.artists == prior.artists and tables.genres == prior.genres and tables.replaced == []


def test_names_that_normalize_to_nothing_are_logged_once(caplog):
    prior = config(label_rules="v2", genre_words=2)
    names = [("米津玄師", "演歌"), ("米津玄師", "Rock"), ("!!!", "Blues Rock Pop"), ("abba", "unknown"), ("", "")]
    songs = [song(*each) for each in names]
    tables_from_songs(songs, prior).put_into(prior)
    report_unknown(songs, prior)
    artists, genres, words = [record.message for record in caplog.records]
    assert artists.startswith("3 songs have an artist that is missing") and artists.endswith("such as 米津玄師, !!!.")
    assert genres.startswith("1 songs have a genre that is missing") and genres.endswith("such as 演歌.")
    assert words == "1 songs have a genre of more than 2 words (the rest are dropped), such as Blues Rock Pop."
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no further warning per song and process
        assert label_row(window_labels(prior), songs[0], 123_456, 0)[3:].tolist() == [0, 0, -1]


def test_unknown_names_and_odd_times_are_logged_once(caplog):
    prior = JukeboxPriorConfig.from_preset("tiny_lyrics_prior", artists={"abba": 3}, genres={"pop": 2})
    songs = [song(f"new {number}", "Pop", "[00;01] la\n[00;02] la") for number in range(12)] + [song(" ABBA", "pop ")]
    report_unknown(songs, prior)
    artists, lyrics = [record.message for record in caplog.records]
    assert artists.startswith("12 songs have an artist that is missing from the table of the prior")
    assert artists.endswith("such as new 0, new 1, new 2 and 9 more.")
    assert lyrics.startswith("12 songs have lyrics with digits in brackets that are not times")
    report_unknown(songs, JukeboxPriorConfig.from_preset("tiny_prior"))
    assert len(caplog.records) == 2


def test_v2_genres_are_tables_of_words():
    tables = tables_from_songs(
        [song("R.E.M.", "Alternative Rock"), song("", "Rock")], config(label_rules="v2", genre_words=5)
    )
    assert tables.artists == {"r_e_m": 1} and tables.genres == {"alternative": 1, "rock": 2}


def test_fine_tuning_keeps_known_names_and_fills_unused_rows_first():
    prior = config(num_artists=6, artists={"abba": 1, "cher": 4}, genres={"pop": 1})
    tables = tables_for_fine_tuning([song("Abba", "Pop"), song("New", "Techno"), song("Newer")], prior)
    assert tables.artists == {"abba": 1, "cher": 4, "new": 2, "newer": 3}
    assert tables.genres == {"pop": 1, "techno": 2}
    assert (tables.num_artists, tables.num_genres) == (6, 10) and tables.replaced == []


def test_fine_tuning_then_reuses_rows_of_names_that_are_not_in_the_data():
    prior = config(
        num_artists=5, artists={"abba": 1, "cher": 2, "cher bono": 2, "dion": 3, "elvis": 4}, genres={"pop": 1}
    )
    songs = [song("New", "pop"), song("elvis"), song("Often"), song("Often"), song("cher")]
    tables = tables_for_fine_tuning(songs, prior)
    # rows 2 and 4 are in use; rows 3 and 1 are reassigned, the first to the name with the most songs
    assert tables.artists == {"cher": 2, "cher bono": 2, "elvis": 4, "often": 3, "new": 1}
    assert tables.replaced == [("artist", "often", ["dion"]), ("artist", "new", ["abba"])]
    assert 0 not in tables.artists.values()


def test_more_names_than_rows_is_refused():
    with pytest.raises(ValueError, match="The data has 3 artists, but the model has only 2 rows"):
        tables_for_fine_tuning([song("a", "g"), song("b"), song("c")], config(num_artists=3, artists={}, genres={}))


def test_data_without_the_columns_of_a_prior_is_refused():
    bare = [SongMetadata("a.wav"), SongMetadata("b.wav")]
    with pytest.raises(ValueError, match="The songs have no artist, which this prior needs: add a column artist"):
        tables_from_songs(bare, config())
    with pytest.raises(ValueError, match=r"no lyrics.*a \.lrc file"):
        tables_from_songs([song("a", "b", None)], JukeboxPriorConfig.from_preset("tiny_lyrics_prior"))
    empty = tables_from_songs([SongMetadata("a.wav", "", "")], config())  # empty cells are songs of unknown artists
    assert empty.artists == {} and empty.num_artists == 100


def test_a_label_row_holds_position_names_and_lyrics():
    prior = JukeboxPriorConfig.from_preset("tiny_lyrics_prior", artists={"abba": 3}, genres={"pop": 2})
    labels = label_row(window_labels(prior), song("ABBA", "Pop", "hey you"), 123_456, 1280)
    assert labels[:5].tolist() == [123_456, 1280, 64 * 128, 3, 2] and len(labels) == prior.label_length
    assert "".join(prior.alphabet[token - 1] for token in labels[5:] if token) == "hey you"
    assert window_labels(JukeboxPriorConfig.from_preset("tiny_prior")) is None


def test_an_alphabet_holds_each_character_of_a_file_once(tmp_path):
    path = tmp_path / "alphabet.txt"
    path.write_text("\ufeffabcабв ßa\nb\n", "utf-8")
    alphabet = read_alphabet(path)
    assert alphabet == "abcабв ß\n"
    prior = JukeboxPriorConfig.from_preset("tiny_lyrics_prior", alphabet=alphabet, artists={}, genres={})
    tokens = label_row(window_labels(prior), song("", "", "Ба в\nß"), 123_456, 0)[5:]
    assert [alphabet[token - 1] for token in tokens if token] == list("а в\nß")
    assert prior.lyrics_vocab_size == 10


def test_an_alphabet_does_not_depend_on_the_editor(tmp_path):
    expected = "абйё\n "
    for number, text in enumerate([expected, unicodedata.normalize("NFD", expected), "абйё\r\n ", "абйё\u2028 "]):
        (tmp_path / f"{number}.txt").write_bytes(text.encode())
        assert read_alphabet(tmp_path / f"{number}.txt") == expected


def test_an_alphabet_without_characters_is_refused(tmp_path):
    path = tmp_path / "alphabet.txt"
    with pytest.raises(FileNotFoundError, match="--alphabet names a text file"):
        read_alphabet(path)
    path.write_text(" \n\n")
    with pytest.raises(ValueError, match=r"alphabet\.txt is empty; write the characters"):
        read_alphabet(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_alphabet(path)
