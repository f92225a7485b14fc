"""Label rows against the golden files, and the tokenizer's public methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_jukebox.tokenization_jukebox import (
    ALPHABET_V2,
    ALPHABET_V3,
    JukeboxTokenizer,
    LevelVocabulary,
    clean_lyrics,
)

GOLDEN = Path(__file__).parent / "fixtures" / "golden" / "openai"
EXPECTED = json.loads((GOLDEN / "labels_expected.json").read_text(encoding="utf-8"))
SONGS = json.loads((GOLDEN / "metas.json").read_text(encoding="utf-8"))["metas"]
HOP_LENGTHS = (8, 32, 128)
N_CTX = 32
# prior: (released model that labels in the same way, level, lyric characters)
PRIORS = {
    "upsampler_level_0": ("1b_lyrics", 0, 0),
    "upsampler_level_1": ("1b_lyrics", 1, 0),
    "prior_5b": ("5b", 2, 0),
    "prior_5b_lyrics": ("5b_lyrics", 2, 12),
    "prior_1b_lyrics": ("1b_lyrics", 2, 8),
    "small_sep_enc_dec": ("1b_lyrics", 2, 12),
}
RATE = 1000
CLIP = {"level": 0, "total_length": 100 * RATE, "window_length": 4 * RATE}


def golden_request(level: int, start: int) -> dict[str, Any]:
    """Return the arguments for the two golden songs in the window that starts at a code."""
    columns = {name: [song[name] for song in SONGS] for name in SONGS[0]}
    columns["offset"] = [offset + start * HOP_LENGTHS[level] for offset in columns["offset"]]
    return columns | {"level": level, "window_length": N_CTX * HOP_LENGTHS[level]}


def golden_tokenizer(prior: str) -> JukeboxTokenizer:
    model, level, n_lyrics = PRIORS[prior]
    released = JukeboxTokenizer.from_ids(GOLDEN / "ids", model)
    return JukeboxTokenizer({level: replace(released.vocabularies[level], n_lyrics=n_lyrics)})


@pytest.fixture
def tokenizer() -> JukeboxTokenizer:
    """Three labelled levels with different rules, with a Cyrillic alphabet at the top."""
    below = LevelVocabulary("v2", {"unknown": 0, "the_winstons": 1, "n_w_a": 2}, {"soul": 1, "funk": 2}, genre_words=3)
    top = LevelVocabulary("v3", {"unknown": 0, "the winstons": 1, "céline dion": 1}, {"deep house": 4}, "абв ё\n", 1, 4)
    plain = LevelVocabulary("v3", {"the winstons": 1}, {"soul": 1}, ALPHABET_V3, 1, 6)
    return JukeboxTokenizer({2: top, 1: below, 0: plain}, sampling_rate=RATE)


@pytest.mark.filterwarnings("ignore:Level 2 has no")
@pytest.mark.filterwarnings("ignore:This model does not use lyrics")
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("start", [0, 16])
def test_label_rows_equal_the_golden_ones(prior: str, start: int) -> None:
    level = PRIORS[prior][1]
    labels = golden_tokenizer(prior)(**golden_request(level, start))["labels"]
    expected = load_file(GOLDEN / f"{prior}_expected.safetensors")[f"y_{start}"]
    assert labels.dtype == torch.long
    assert torch.equal(labels, expected.long())


@pytest.mark.filterwarnings("ignore:Level 2 has no")
@pytest.mark.filterwarnings("ignore:This model does not use lyrics")
@pytest.mark.parametrize("prior", PRIORS)
def test_lyrics_and_names_equal_the_golden_ones(prior: str) -> None:
    level = PRIORS[prior][1]
    tokenizer = golden_tokenizer(prior)
    # the published code cleans the lyrics of a level that reads none as well
    alphabet = tokenizer.vocabularies[level].alphabet or ALPHABET_V2
    for song, info in zip(SONGS, EXPECTED[prior]["info"], strict=True):
        clean = clean_lyrics(song["lyrics"], alphabet)
        assert clean == info["lyrics"]
        assert [alphabet.index(character) + 1 for character in clean] == info["full_tokens"]
        assert (song["artist"], song["genre"]) == (info["artist"], info["genre"])
    rows = tokenizer(**golden_request(level, 0))["labels"]
    decoded = tokenizer.batch_decode(rows, level=level)
    assert [{"artist": d.artist, "genre": d.genre, "lyrics": d.lyrics} for d in decoded] == EXPECTED[prior]["describe"]
    assert [(d.total_length, d.window_length) for d in decoded] == [(16384, rows[0, 2]), (24576, rows[0, 2])]


@pytest.mark.parametrize("prior", [name for name in EXPECTED if "lyric_indices_half" in EXPECTED[name]])
def test_lyric_indices_equal_the_golden_ones(prior: str) -> None:
    tokenizer = golden_tokenizer(prior)
    assert tokenizer.lyric_indices(**golden_request(2, 16)).tolist() == EXPECTED[prior]["lyric_indices_half"]


def test_released_models_mix_rules_and_alphabets() -> None:
    levels = JukeboxTokenizer.from_ids(GOLDEN / "ids", "1b_lyrics").vocabularies
    assert [(levels[i].rules, levels[i].genre_words, levels[i].n_lyrics) for i in (0, 1, 2)] == [
        ("v2", 5, 0),
        ("v2", 5, 0),
        ("v3", 1, 384),
    ]
    assert levels[2].alphabet == ALPHABET_V3
    top = JukeboxTokenizer.from_ids(GOLDEN / "ids", "5b_lyrics").vocabularies[2]
    assert (top.rules, top.genre_words, top.n_lyrics, top.alphabet) == ("v2", 5, 512, ALPHABET_V2)


def test_from_ids_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no released model '5b_lyric'; choose one of 5b, 5b_lyrics, 1b_lyrics"):
        JukeboxTokenizer.from_ids(GOLDEN / "ids", "5b_lyric")
    for name in ("v2_artist_ids.txt", "v2_genre_ids.txt"):
        (tmp_path / name).write_bytes((GOLDEN / "ids" / name).read_bytes())
    JukeboxTokenizer.from_ids(tmp_path, "5b")
    with pytest.raises(FileNotFoundError, match=r"v3_artist_ids\.txt is missing"):
        JukeboxTokenizer.from_ids(tmp_path, "1b_lyrics")


def test_single_values_apply_to_every_song(tokenizer: JukeboxTokenizer) -> None:
    labels = tokenizer(artist=["The Winstons", None], genre="soul", lyrics="abc", offset=[0, 500], **CLIP)["labels"]
    assert labels.tolist() == [
        [100000, 0, 4000, 1, 1, 0, 0, 0, 27, 28, 29],
        [100000, 500, 4000, 0, 1, 0, 0, 0, 27, 28, 29],
    ]
    one = tokenizer(artist=["The Winstons"], genre=("soul",), lyrics="abc", **CLIP)
    assert torch.equal(one["labels"], labels[:1])
    assert one.to("cpu")["labels"].shape == (1, tokenizer.vocabularies[0].label_length)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artist": ["a", "b"], "genre": ["a", "b", "c"]}, "artist lists 2 values for 3 songs"),
        ({"lyrics": []}, "lyrics lists 0 values for 1 songs"),
        ({"level": 3}, "Level 3 has no labels; the labelled levels of this model: 0, 1, 2"),
        ({"artist": 7}, "artist must be text or None, not 7"),
        ({"total_length": 60.5}, "total_length must be a whole number of samples, not 60.5"),
        ({"offset": "0"}, "offset must be a whole number of samples, not '0'"),
        ({"window_length": 1.5}, "window_length must be a whole number of samples"),
        ({"total_length": [RATE, 0], "lyrics": "long enough"}, "total_length must be above 0 samples, not 0"),
        ({"total_length": 240}, "window of 4000 samples from sample 0 on ends after its song of 240; .* seconds times"),
        ({"offset": [0, 96001]}, "window of 4000 samples from sample 96001 on ends after its song of 100000"),
        ({"offset": -1}, "offset must be at least 0 samples, not -1"),
        ({"window_length": 0}, "window_length must be above 0 samples, not 0"),
        ({"total_length": 10**30}, "total_length is too large"),
    ],
)
def test_invalid_arguments_are_refused_in_one_sentence(
    tokenizer: JukeboxTokenizer, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(**(CLIP | change))


def test_a_window_may_end_after_its_song(tokenizer: JukeboxTokenizer) -> None:
    beyond = CLIP | {"total_length": 1000, "lyrics": "abc", "allow_beyond": True}
    assert tokenizer(**beyond)["labels"][0, :3].tolist() == [1000, 0, 4000]
    assert tokenizer.lyric_indices(**beyond).shape == (1, 6)
    with pytest.raises(ValueError, match="ends after its song"):
        tokenizer.lyric_indices(**(beyond | {"allow_beyond": False}))


def test_unknown_names_warn_once_with_the_closest(tokenizer: JukeboxTokenizer) -> None:
    with pytest.warns(UserWarning, match="artist 'The Winston' .*; the closest names are 'the winstons'") as caught:
        labels = tokenizer(artist=["The Winston", "The Winstons"], genre="soul", **CLIP)["labels"]
    assert labels[:, 3].tolist() == [0, 1]
    assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(artist="The Winston", genre="soul", **CLIP)
        tokenizer(artist="The Winston", genre="soul", **(CLIP | {"level": 1}))
        tokenizer(artist=["", None, "Unknown"], genre=["", None, "unknown"], **CLIP)
    with pytest.warns(UserWarning, match="genre 'polka' .* no name is close to it") as caught:
        tokenizer(genre="soul polka", **(CLIP | {"level": 1}))
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="The Winston"):  # another tokenizer tells its own user
        JukeboxTokenizer(tokenizer.vocabularies)(artist="The Winston", **CLIP)


@pytest.mark.parametrize("name", ["米津玄師", "!!!"])
def test_a_name_that_is_empty_by_the_rules_is_unknown_with_a_warning(tokenizer: JukeboxTokenizer, name: str) -> None:
    request = CLIP | {"level": 1}
    for kind in ("artist", "genre"):
        with pytest.warns(UserWarning, match=f"Level 1 has no {kind} '{name}' .* a-z and 0-9") as caught:
            labels = tokenizer(**{kind: name}, **request)["labels"]
        assert labels[0, 3:].tolist() == [0, 0, -1, -1]
        assert len(caught) == 1 and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(artist=[" ", "\ufeff", "unknown "], genre=["", None, "\t"], **request)
    # an id that the table has for such a name is not taken from it
    named = JukeboxTokenizer({1: replace(tokenizer.vocabularies[1], artists={"": 7})})
    assert named(artist="!!!", genre="soul", **request)["labels"][0, 3] == 7


def test_spaces_case_and_composition_do_not_change_a_name(tokenizer: JukeboxTokenizer) -> None:
    ways = ["céline dion", " Céline  Dion ", unicodedata.normalize("NFD", "CÉLINE DION"), "\ufeffCéline\u00a0Dion"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = tokenizer(artist=ways, genre="Deep\tHouse ", **(CLIP | {"level": 2}))["labels"]
    assert labels[:, 3].tolist() == [1] * 4 and labels[:, 4].tolist() == [4] * 4


def test_lyrics_with_odd_stamps_are_read_as_text_with_one_warning(tokenizer: JukeboxTokenizer) -> None:
    with pytest.warns(UserWarning, match=r"read as text without times, including '\[00;01\]'") as caught:
        tokenizer(lyrics="[00;01]la\n[00;02]la", **CLIP)
        tokenizer(lyrics="[00;01]la\n[00;02]la", **CLIP)
    assert len(caught) == 1


def test_v2_genres_are_words_and_extra_words_are_ignored_with_a_warning(tokenizer: JukeboxTokenizer) -> None:
    request = CLIP | {"level": 1}
    assert tokenizer(genre="Soul-Funk", **request)["labels"][0, 4:].tolist() == [1, 2, -1]
    assert tokenizer(genre="", **request)["labels"][0, 4:].tolist() == [0, -1, -1]
    with pytest.warns(UserWarning, match="uses 3 words per genre; ignoring 'soul' of 'Funk Soul/Funk & Soul'"):
        labels = tokenizer(genre="Funk Soul/Funk & Soul", **request)["labels"]
    assert labels[0, 4:].tolist() == [2, 1, 2]


def test_lyrics_for_a_model_without_lyrics_warn_once(tokenizer: JukeboxTokenizer) -> None:
    silent = JukeboxTokenizer({1: tokenizer.vocabularies[1]})
    with pytest.warns(UserWarning, match="does not use lyrics") as caught:
        silent(lyrics="abc", **(CLIP | {"level": 1}))
        silent(lyrics="abc", **(CLIP | {"level": 1}))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(lyrics="abc", **(CLIP | {"level": 1}))  # here the top level reads them


def test_lyrics_in_any_alphabet_are_kept(tokenizer: JukeboxTokenizer) -> None:
    request = CLIP | {"level": 2}
    labels = tokenizer(lyrics="Ба ё", **request)["labels"]
    assert tokenizer.clean_lyrics("Ба ё", level=2) == "а ё"
    assert labels[0, 5:].tolist() == [0, 1, 4, 5]
    assert tokenizer.decode(labels[0], level=2).lyrics == "а ё"


def test_timed_lyrics_give_the_characters_sung_in_the_window(tokenizer: JukeboxTokenizer) -> None:
    lyrics = "[00:00.00]abcdefghi\n[00:10.00]jklmnopqr\n[00:20.00]"
    request = CLIP | {"offset": [0, 13 * RATE, 80 * RATE]}
    labels = tokenizer(lyrics=lyrics, **request)["labels"]
    assert [d.lyrics for d in tokenizer.batch_decode(labels, level=0)] == ["abcdef", "lmnopq", "nopqr\n"]
    indices = tokenizer.lyric_indices(lyrics=lyrics, **request)
    assert indices[:, 0].tolist() == [0, 12, 14]
    assert tokenizer.clean_lyrics(lyrics, level=0) == "abcdefghi\njklmnopqr\n"


def test_lyric_indices_follow_the_batch(tokenizer: JukeboxTokenizer) -> None:
    indices = tokenizer.lyric_indices(artist=["a", "b"], lyrics="abcd", **CLIP)
    assert indices.tolist() == [[-1, -1, 0, 1, 2, 3]] * 2
    assert tokenizer.lyric_indices(lyrics="abcd", **(CLIP | {"level": 1})).shape == (1, 0)


def test_decoding_joins_the_names_of_an_id(tokenizer: JukeboxTokenizer) -> None:
    decoded = tokenizer.decode(torch.tensor([9, 8, 7, 1, 4, 0, 0, 1, 2]), level=2)
    assert (decoded.artist, decoded.genre, decoded.lyrics) == ("céline dion_the winstons", "deep house", "аб")
    assert (decoded.total_length, decoded.offset, decoded.window_length) == (9, 8, 7)
    assert tokenizer.decode([9, 8, 7, 5, 0, 2, -1], level=1).artist == "#5"  # an id that no name has
    with pytest.raises(ValueError, match="row of level 1 has 7 numbers, not 5"):
        tokenizer.decode([9, 8, 7, 5, 0], level=1)


def test_names_of_a_level_are_listed(tokenizer: JukeboxTokenizer) -> None:
    assert tokenizer.artists(1) == ["n_w_a", "the_winstons", "unknown"]
    assert tokenizer.genres(2) == ["deep house"]


def test_a_saved_tokenizer_loads_unchanged(tokenizer: JukeboxTokenizer, tmp_path: Path) -> None:
    kept = JukeboxTokenizer(tokenizer.vocabularies, sampling_rate=22050, note="mine")
    kept.save_pretrained(tmp_path)
    assert {"artists.json", "genres.json", "lyrics.json"} <= {path.name for path in tmp_path.iterdir()}
    loaded = JukeboxTokenizer.from_pretrained(tmp_path)
    assert loaded.vocabularies == tokenizer.vocabularies
    assert (loaded.sampling_rate, loaded.init_kwargs["note"]) == (22050, "mine")
    loaded.save_pretrained(tmp_path / "again")
    for name in ("artists.json", "genres.json", "lyrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_table_that_levels_share_is_saved_once(tmp_path: Path) -> None:
    JukeboxTokenizer.from_ids(GOLDEN / "ids", "1b_lyrics").save_pretrained(tmp_path)
    tables = json.loads((tmp_path / "artists.json").read_text(encoding="utf-8"))
    assert [(table["levels"], table["rules"]) for table in tables] == [([0, 1], "v2"), ([2], "v3")]


def test_a_fresh_process_reads_the_same_rows(tokenizer: JukeboxTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    request = CLIP | {"artist": "céline dion", "genre": "Deep House", "lyrics": "[00:01.00]вба ё", "level": 2}
    code = (
        "import json, sys; from hf_jukebox.tokenization_jukebox import JukeboxTokenizer; "
        "request = json.loads(sys.argv[2]); "
        "print(JukeboxTokenizer.from_pretrained(sys.argv[1])(**request)['labels'].tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(request)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"},
    )
    assert json.loads(run.stdout) == tokenizer(**request)["labels"].tolist()


def test_a_model_without_labels_has_an_empty_tokenizer(tmp_path: Path) -> None:
    JukeboxTokenizer({}).save_pretrained(tmp_path)
    loaded = JukeboxTokenizer.from_pretrained(tmp_path)
    assert loaded.vocabularies == {} and len(loaded) == 0
    with pytest.raises(ValueError, match="Level 0 has no labels; the labelled levels of this model: none"):
        loaded(**CLIP)


def test_a_damaged_folder_names_the_file(tokenizer: JukeboxTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    genres = (tmp_path / "genres.json").read_bytes()
    (tmp_path / "genres.json").write_text('{"soul": 1}')  # the layout of transformers 4
    with pytest.raises(ValueError, match=r"genres\.json is not a table that this library saved"):
        JukeboxTokenizer.from_pretrained(tmp_path)
    (tmp_path / "genres.json").write_bytes(genres[:20])
    with pytest.raises(ValueError, match=r"genres\.json is not a table that this library saved"):
        JukeboxTokenizer.from_pretrained(tmp_path)
    (tmp_path / "genres.json").write_text("[]")
    with pytest.raises(ValueError, match="do not describe the same levels"):
        JukeboxTokenizer.from_pretrained(tmp_path)
    (tmp_path / "genres.json").unlink()
    with pytest.raises(ValueError, match=r"genres\.json is missing; a saved tokenizer has artists\.json"):
        JukeboxTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"artists\.json is missing"):
        JukeboxTokenizer()
