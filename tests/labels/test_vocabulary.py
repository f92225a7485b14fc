"""Tables of names, the rules for their spelling, and their files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf_jukebox.configuration_jukebox import JukeboxPriorConfig
from hf_jukebox.labels.vocabulary import LevelVocabulary, normalize_name, read_ids
from hf_jukebox.presets import ALPHABET_V2, ALPHABET_V3

IDS = Path(__file__).parents[1] / "fixtures" / "golden" / "openai" / "ids"


@pytest.mark.parametrize(
    ("name", "v2", "v3"),
    [
        ("Céline Dion", "c_line_dion", "céline dion"),
        ("N.W.A", "n_w_a", "n.w.a"),
        ("Hip Hop/Rap & Soul-Funk", "hip_hop_rap_soul_funk", "hip hop/rap & soul-funk"),
        ("  ", "", ""),
        ("\ufeff Céline\u00a0\t Dion ", "c_line_dion", "céline dion"),
        ("Ce\u0301line Dion", "c_line_dion", "céline dion"),
        ("!!!", "", "!!!"),
        ("米津玄師", "", "米津玄師"),
    ],
)
def test_names_are_normalised_by_the_rules(name: str, v2: str, v3: str) -> None:
    assert (normalize_name(name, "v2"), normalize_name(name, "v3")) == (v2, v3)


def test_a_table_may_hold_shared_ids_empty_names_and_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("Unknown;0\n;0\nBeyoncé;1\r\nsemi;colon;2\ntwice;3\ntwice;4\n".encode())
    assert read_ids(path) == {"unknown": 0, "": 0, "beyoncé": 1, "semi;colon": 2, "twice": 4}


def test_a_table_edited_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeff\r\na;1\r\n\r\n b\u00a0;2 \r\nBeyonce\u0301 ;3\r\nb;2\r\n  \r\n".encode())
    assert read_ids(path) == {"a": 1, "b": 2, "beyoncé": 3}
    path.write_bytes(b"a;1\rb;2\r")  # line breaks of an old Macintosh
    assert read_ids(path) == {"a": 1, "b": 2}
    path.write_bytes(b"ella;1\nella ;2\n")  # two names of the table keep their ids
    assert read_ids(path) == {"ella": 1, "ella ": 2}


@pytest.mark.parametrize("line", ["no id", "name;", "name;one", "name;-1", "name;" + "9" * 5000])
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "v2_artist_ids.txt"
    path.write_text(f"unknown;0\n{line}\nx;1\n")
    with pytest.raises(ValueError, match=r"v2_artist_ids\.txt, line 2: expected 'name;id'"):
        read_ids(path)


def test_a_missing_or_binary_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.txt is missing"):
        read_ids(tmp_path / "gone.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.txt is not UTF-8 text"):
        read_ids(tmp_path / "binary.txt")


def test_published_names_that_break_their_own_rules_are_found() -> None:
    """The published v2 artists hold both `r_e_m_`, which no name normalises to, and `keb_mo` beside `keb_mo_`."""
    vocabulary = LevelVocabulary("v2", {"r_e_m_": 7, "keb_mo_": 8, "keb_mo": 9}, {})
    assert vocabulary.artist_ids["r_e_m"] == 7
    assert vocabulary.artist_ids["keb_mo"] == 9


@pytest.mark.parametrize("rules", ["v2", "v3"])
def test_every_spelling_of_a_name_has_one_id(rules: str) -> None:
    tables = ({normalize_name("Ella Fitzgerald", rules): 4, normalize_name("Beyoncé", rules): 5}, {})
    vocabulary = LevelVocabulary(rules, *tables)
    ways = [
        "Ella Fitzgerald",
        "Ella Fitzgerald ",
        " ella\u00a0 fitzgerald",
        "ELLA\tFITZGERALD",
        "\ufeffElla Fitzgerald",
    ]
    assert [vocabulary.artist_id(way) for way in ways] == [4] * len(ways)
    ways = ["Beyoncé", "Beyonce\u0301", " BEYONCE\u0301"]
    assert [vocabulary.artist_id(way) for way in ways] == [5] * len(ways)
    assert vocabulary.artist_id("somebody") is None


def test_tables_of_earlier_versions_keep_their_ids() -> None:
    """They were looked up by the lower-cased name alone, and may hold several spellings of one name."""
    table = {"ella": 1, "ella ": 2, " ": 3, "beyonce\u0301": 4, "miles\u00a0davis": 5, "x  y": 6}
    vocabulary = LevelVocabulary("v3", table, table)
    assert {name: vocabulary.artist_id(name.upper()) for name in table} == table
    assert {name: vocabulary.genre_id(name) for name in table} == table
    assert [vocabulary.artist_id(name) for name in (" Ella", "Beyoncé", "Miles Davis", "X Y")] == [1, 4, 5, 6]


@pytest.mark.parametrize("kind", ["artist", "genre"])
@pytest.mark.parametrize("rules", ["v2", "v3"])
def test_published_names_keep_their_ids(rules: str, kind: str) -> None:
    path = IDS / f"{rules}_{kind}_ids.txt"
    lines = [line.rpartition(";") for line in path.read_text("utf-8").splitlines()]
    table = {name.lower(): int(index) for name, _, index in lines}
    assert read_ids(path) == table
    vocabulary = LevelVocabulary(rules, table, table)
    before = {re.sub("[^a-z0-9]+", "_", name).strip("_"): index for name, index in table.items()} | table
    for name in table:
        written = name if rules == "v3" else re.sub("[^a-z0-9]+", "_", name).strip("_")
        for way in (name, name.upper(), name.title()):
            assert vocabulary.artist_id(way) == vocabulary.genre_id(way) == before[written], way


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rules": "v4"}, "rules must be 'v2' or 'v3'"),
        ({"genre_words": 0}, "genre_words must be at least 1"),
        ({"n_lyrics": -2}, "n_lyrics at least 0"),
        ({"n_lyrics": 8}, "needs an alphabet"),
        ({"alphabet": "aba"}, "holds a character twice"),
    ],
)
def test_an_invalid_vocabulary_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LevelVocabulary(**({"rules": "v2", "artists": {}, "genres": {}} | fields))


def test_a_priors_configuration_holds_its_vocabulary() -> None:
    config = JukeboxPriorConfig.from_preset("prior_5b_lyrics", artists={"unknown": 0, "x": 1}, genres={"soul": 1})
    vocabulary = LevelVocabulary.from_config(config)
    assert vocabulary == LevelVocabulary("v2", {"unknown": 0, "x": 1}, {"soul": 1}, ALPHABET_V2, 5, 512)
    assert vocabulary.label_length == config.label_length == 521


def test_the_published_alphabets() -> None:
    assert len(ALPHABET_V2) == 79 and len(ALPHABET_V3) == 78
    assert ALPHABET_V2.startswith("ABC") and ALPHABET_V2.endswith(" \t\n")
    assert set(ALPHABET_V2) - set(ALPHABET_V3) == {"+"}
