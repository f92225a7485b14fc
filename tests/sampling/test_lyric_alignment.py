"""Alignment of lyrics: measured maps of single windows, and pasting of windows."""

import json
from typing import Any

import pytest
import torch
from helpers.golden import ORIGINAL, golden_prior
from helpers.tiny import NAMES, tiny_prior
from safetensors.torch import load_file

from hf_jukebox import JukeboxPrior, JukeboxTokenizer
from hf_jukebox.labels.vocabulary import LevelVocabulary
from hf_jukebox.sampling.lyric_alignment import LyricAlignment, align_lyrics, paste_maps, why_not_aligned
from hf_jukebox.sampling.request import SongConditioning

LYRICS = "we hung the lanterns by the shore\nand counted every one\nuntil the light was gone"
N_CTX, N_LYRICS, HOP = 64, 32, 16


def tokenizer_of(prior: JukeboxPrior) -> JukeboxTokenizer:
    config = prior.config
    return JukeboxTokenizer({config.level: LevelVocabulary.from_config(config)}, sampling_rate=config.sampling_rate)


def song_of(lyrics: str | None, **fields: Any) -> SongConditioning:
    defaults = {"artist": "night bus", "genre": "rock", "total_length": 200 * 128, "offset": 0, "key": (0, 0)}
    return SongConditioning(lyrics=lyrics, **(defaults | fields))


@pytest.fixture(scope="module")
def prior() -> JukeboxPrior:
    return tiny_prior("tiny_lyrics_prior", alignment_layer=9, alignment_head=1, **NAMES)


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    return torch.randint(64, (200,), generator=torch.Generator().manual_seed(0))


# One window: the measured maps -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*has no artist")
@pytest.mark.parametrize("name", ["prior_5b_lyrics", "prior_1b_lyrics", "small_sep_enc_dec"])
def test_a_window_is_aligned_as_measured(name: str) -> None:
    prior = golden_prior(name)
    tokenizer = tokenizer_of(prior)
    expected = load_file(ORIGINAL / f"{name}_expected.safetensors")
    metas = json.loads((ORIGINAL / "metas.json").read_text("utf-8"))["metas"]
    for song, meta in enumerate(metas):
        measured, lyric_tokens = expected["alignment"][song], expected["y_0"][song, -prior.config.n_lyrics :]
        aligned = align_lyrics(prior, tokenizer, expected["z_0"][song], SongConditioning(**meta, key=(0, 0)), hop=4)
        characters = tokenizer.decode(expected["y_0"][song], level=2).lyrics
        first, kept = aligned.text.index(characters), lyric_tokens != 0
        wanted = torch.zeros_like(aligned.weights)
        wanted[:, first : first + len(characters)] = measured[:, kept]
        torch.testing.assert_close(aligned.weights, wanted, atol=1e-6, rtol=0)
        assert torch.equal(aligned.peaks(), first + measured[:, kept].argmax(1))
        assert aligned.codes_per_second == 44100 / 128


def test_a_piece_shorter_than_a_window_is_the_start_of_one(prior: JukeboxPrior, codes: torch.Tensor) -> None:
    tokenizer, song = tokenizer_of(prior), song_of(LYRICS[:20])
    whole = align_lyrics(prior, tokenizer, torch.cat([codes[:23], torch.zeros(41, dtype=torch.long)]), song, HOP)
    short = align_lyrics(prior, tokenizer, codes[:23], song, HOP)
    assert short.weights.shape == (23, 20)
    torch.testing.assert_close(short.weights, whole.weights[:23])


# Windows together ------------------------------------------------------------------------------------------------


def test_the_earlier_window_wins_in_its_own_columns() -> None:
    first, second = torch.full((4, 3), 1.0), torch.full((4, 3), 2.0)
    maps = [(2, torch.tensor([2, 3, 4]), second), (0, torch.tensor([-1, 1, 2]), first)]  # the last one first
    pasted = paste_maps(maps, total=6, num_characters=6)
    assert pasted.tolist() == [
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 0, 2, 2, 2, 0],
        [0, 0, 2, 2, 2, 0],
    ]


def test_every_window_is_labelled_with_its_own_offset(prior: JukeboxPrior, codes: torch.Tensor) -> None:
    tokenizer, song = tokenizer_of(prior), song_of(LYRICS, offset=128 * 10, total_length=128 * 240)
    aligned = align_lyrics(prior, tokenizer, codes, song, HOP)
    assert aligned.text == LYRICS
    assert aligned.weights.shape == (200, len(LYRICS))
    # The last window is moved back to end with the piece; its last codes are nobody else's.
    start = 200 - N_CTX
    span: dict[str, Any] = {
        "level": 2, "total_length": 128 * 240, "offset": 128 * (10 + start), "window_length": 128 * N_CTX,
        "lyrics": LYRICS,
    }  # fmt: skip
    labels = tokenizer(artist="night bus", genre="rock", **span)["labels"]
    of_window = prior.alignment(codes[None, start:], labels)[0, -(start % HOP) :]
    characters = tokenizer.lyric_indices(**span)[0]
    torch.testing.assert_close(aligned.weights[-(start % HOP) :, characters], of_window)
    assert aligned.weights[-1].count_nonzero() == N_LYRICS


def test_the_first_window_is_kept_whole(prior: JukeboxPrior, codes: torch.Tensor) -> None:
    tokenizer, song = tokenizer_of(prior), song_of(LYRICS)
    whole = align_lyrics(prior, tokenizer, codes, song, HOP).weights
    first = align_lyrics(prior, tokenizer, codes[:N_CTX], song, HOP).weights
    written = first != 0
    torch.testing.assert_close(whole[:N_CTX][written], first[written])


# Without an alignment --------------------------------------------------------------------------------------------


def test_a_song_without_lyrics_has_no_peaks(prior: JukeboxPrior, codes: torch.Tensor) -> None:
    aligned = align_lyrics(prior, tokenizer_of(prior), codes, song_of(None), HOP)
    assert aligned.weights.shape == (200, 0)
    assert (aligned.peaks() == -1).all()


@pytest.mark.parametrize(
    ("preset", "message"), [("tiny_labelled_prior", "does not use lyrics"), ("tiny_lyrics_prior", "names no alignment")]
)
def test_a_prior_that_cannot_align_says_why(preset: str, message: str, codes: torch.Tensor) -> None:
    prior = tiny_prior(preset, **NAMES)
    assert message in (why_not_aligned(prior.config) or "")
    with pytest.raises(ValueError, match=message):
        align_lyrics(prior, tokenizer_of(prior), codes, song_of(LYRICS), HOP)


def test_a_map_has_one_column_per_character() -> None:
    with pytest.raises(ValueError, match="needs weights"):
        LyricAlignment("three", torch.zeros(4, 3), 10.0)
