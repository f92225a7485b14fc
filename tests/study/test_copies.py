"""Copies found in pieces: planted passages, changed ones, and none in music that is not a copy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.catalogues import TOP, longest_common, top_catalogue
from helpers.command_line import run
from helpers.refusals import refusal, refusal_to_write
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline
from hypothesis import given
from hypothesis import strategies as st

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxVQVAE
from hf_jukebox.audio import write_audio
from hf_jukebox.catalogue.folder import Catalogue
from hf_jukebox.catalogue.search import longest_agreements, longest_stretch
from hf_jukebox.study.catalogues import build_catalogue
from hf_jukebox.study.copies import check_pieces
from hf_jukebox.study.nearest import nearest_passages
from hf_jukebox.training.data import encode_songs
from hf_jukebox.training.data.audio_folder import songs_of_folder


def music(seed: int, length: int) -> np.ndarray:
    """Return codes with some order: each is one of six successors of the code before it."""
    steps = np.random.default_rng(seed).integers(0, 6, length)
    return (np.cumsum(steps * 11 + 3) % 64).astype(np.uint16)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return top_catalogue(tmp_path_factory.mktemp("c") / "c", [music(seed, 3000) for seed in range(20)])


@given(st.lists(st.booleans(), max_size=40), st.sampled_from([0.0, 0.2, 0.5]))
def test_the_longest_stretch_is_that_of_all_stretches(agrees, changed):
    def is_good(start: int, end: int) -> bool:
        part = agrees[start:end]
        return bool(part) and part[0] and part[-1] and part.count(False) <= changed * len(part)

    lengths = [
        end - start for start in range(len(agrees)) for end in range(start + 1, len(agrees) + 1) if is_good(start, end)
    ]
    start, end = longest_stretch(np.array(agrees, bool), changed)
    assert end - start == max(lengths, default=0) and (end == start or is_good(start, end))


@pytest.mark.parametrize("changed", [0.0, 0.1, 0.2])
def test_a_planted_passage_is_found(catalogue, changed):
    random, length = np.random.default_rng(5), 500
    for trial in range(10):
        song, start, at = int(random.integers(20)), int(random.integers(2400)), int(random.integers(400))
        passage = catalogue.codes(song, TOP)[start : start + length].copy()
        places = random.choice(np.arange(1, length - 1), round(changed * length), replace=False)
        passage[places] = (passage[places] + random.integers(1, 64, len(places))) % 64
        piece = np.concatenate([music(1000 + trial, at), passage, music(2000 + trial, 500 - at)])
        exact, near = longest_agreements(catalogue, TOP, piece, [0.0, 0.2])
        assert (near.song, near.start - near.song_start) == (song, at - start)
        assert near.length >= length and near.start <= at and near.agreeing >= 0.8 * near.length
        if changed == 0:
            assert (exact.song, exact.start, exact.song_start) == (song, at, start) and exact.length >= length


def test_the_longest_exact_agreement_is_that_of_every_comparison(catalogue):
    for seed in range(3):
        piece = np.concatenate([music(50 + seed, 200), catalogue.codes(3 * seed, TOP)[700:724], music(90 + seed, 200)])
        expected = max(longest_common(piece, np.asarray(catalogue.codes(song, TOP))) for song in range(20))
        (found,) = longest_agreements(catalogue, TOP, piece, [0.0])
        assert found.length == expected >= 23


def test_unrelated_music_is_not_beyond_what_other_songs_have(catalogue):
    pieces = [music(500 + number, 800) for number in range(5)]
    copy = np.concatenate([pieces[0][:300], catalogue.codes(7, TOP)[100:200], pieces[1][:400]])
    report = check_pieces(catalogue, TOP, list("abcde!"), [*pieces, copy], excerpts=100)
    for piece in report.pieces[:-1]:
        for number, found in enumerate(piece.agreements):
            length = 0 if found is None else found.length
            assert length <= report.null.percentile(number, 99) and piece.shares[number] > 0.01
    assert report.pieces[-1].shares == [1 / 101, 1 / 101]
    entry = report.as_dict()["pieces"][-1]["exact"]
    assert entry["song"] == "song 7" and entry["seconds"] >= 100 * 128 / 22050
    assert entry["share_of_null_as_long"] == round(1 / 101, 4)


def test_silence_alone_is_no_agreement(tmp_path):
    silent = [np.concatenate([music(n, 200), np.full(3000, 7)]).astype(np.uint16) for n in range(20)]
    catalogue = top_catalogue(tmp_path / "c", silent)
    piece = np.concatenate([music(100, 100), np.full(2000, 7)]).astype(np.uint16)
    assert longest_agreements(catalogue, TOP, piece) == [None, None]
    piece[60:100] = silent[3][160:200]
    found, _ = longest_agreements(catalogue, TOP, piece)
    assert (found.song, found.length) == (3, 40 + 2000)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a pipeline, songs, their codes, and codes of others."""
    folder = tmp_path_factory.mktemp("work")
    pipe = tiny_pipeline("tiny_labelled_prior")
    pipe.save_pretrained(folder / "model")
    for kind, seeds in (("songs", (1, 2, 3)), ("others", (4, 5))):
        (folder / kind).mkdir()
        for seed in seeds:
            write_audio(folder / kind / f"{seed}.wav", noise_audio(codes_in_s(300), seed).numpy(), 22050)
        encode_songs(songs_of_folder(folder / kind), pipe.vqvae, folder / f"{kind}-codes")
    return folder


def test_the_commands_build_hash_avoid_and_check(workplace, tmp_path):
    result = run("catalogue", "build", workplace / "songs-codes", "-o", tmp_path / "c")
    assert result.exit_code == 0, result.output
    assert "3 songs" in result.output and "--avoid" in result.output
    assert run("catalogue", "hash", tmp_path / "c", "-o", tmp_path / "h", "--longest-in-s", 0.5).exit_code == 0
    sample = ("sample", "--model", workplace / "model", "--levels", 2, "--seconds", codes_in_s(60), "--seed", 1)
    for catalogue, name in ((tmp_path / "c", "run"), (tmp_path / "h", "hashed")):
        result = run(*sample, "--avoid", catalogue, "--longest-in-s", 0.5, "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert f"Agrees with {catalogue.name} for 0.5 s at most" in result.output
        assert f"Agrees with {catalogue.name} for 0.5 s at most" in (tmp_path / name / "index.html").read_text()
    song = workplace / "songs" / "2.wav"
    check = (
        "catalogue",
        "check",
        tmp_path / "run",
        song,
        "--catalogue",
        tmp_path / "c",
        "--model",
        workplace / "model",
    )
    result = run(*check, "--held-out", workplace / "others-codes", "--excerpts", 5, "-o", tmp_path / "report")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])
    assert report == json.loads((tmp_path / "report" / "copies.json").read_text())
    own, copied = report["pieces"]
    assert copied["exact"]["song"] == "2.wav" and copied["exact"]["codes"] == 300
    assert copied["exact"]["share_of_null_as_long"] == round(1 / 6, 4)
    assert own["exact"] is None or own["exact"]["seconds"] <= 0.5
    page = (tmp_path / "report" / "index.html").read_text()
    assert "audio/piece_1_exact_song.wav" in page and "2.wav" in page
    assert (tmp_path / "report" / "audio" / "piece_1_exact_piece.wav").is_file()


def test_bad_input_ends_with_one_line_before_a_model_is_loaded(workplace, tmp_path):
    build_catalogue(workplace / "songs-codes", tmp_path / "c")
    other: JukeboxPipeline = tiny_pipeline("tiny_labelled_prior", seed=9)
    other.save_pretrained(tmp_path / "other")
    model, song = ("--model", workplace / "model"), workplace / "songs" / "2.wav"
    for message, command in {
        "c exists already": ("catalogue", "build", workplace / "songs-codes", "-o", tmp_path / "c"),
        "holds no finished codes": ("catalogue", "build", workplace / "songs", "-o", tmp_path / "d"),
        "--levels takes numbers": (
            "catalogue",
            "build",
            workplace / "songs-codes",
            "-o",
            tmp_path / "d",
            "--levels",
            "-1",
        ),
        "holds no catalogue": ("sample", "--avoid", workplace, "--model", tmp_path / "none"),
        "--longest-in-s must be a number of seconds above 0": (
            "sample",
            "--avoid",
            tmp_path / "c",
            "--longest-in-s",
            0,
            "--model",
            tmp_path / "none",
        ),
        "name the catalogue with --avoid": ("sample", "--longest-in-s", 1, *model, "-o", tmp_path / "run"),
        "There is no file": ("catalogue", "check", tmp_path / "no.wav", "--catalogue", tmp_path / "c", *model),
        "is a catalogue of another VQ-VAE": (
            "catalogue",
            "check",
            song,
            "--catalogue",
            tmp_path / "c",
            "--model",
            tmp_path / "other",
        ),
    }.items():
        result = run(*command)
        assert result.exit_code == 2, (command, result.output)
        assert message in result.stderr.replace("\n", ""), result.stderr
    assert not (tmp_path / "d").exists() and not (tmp_path / "run").exists()


def test_codes_of_different_models_do_not_make_one_catalogue(workplace, tmp_path):
    vqvae = tiny_pipeline(seed=9).vqvae
    codes = encode_songs(songs_of_folder(workplace / "others"), vqvae, tmp_path / "codes").folder
    both = [workplace / "songs-codes", codes]
    assert "different VQ-VAEs" in refusal_to_write(tmp_path, lambda: build_catalogue(both, tmp_path / "c"))
    whole = build_catalogue([workplace / "songs-codes", workplace / "others-codes"], tmp_path / "c", levels=[1, 2])
    assert [song.name for song in whole.songs] == ["1.wav", "2.wav", "3.wav", "4.wav", "5.wav"]
    pipe = JukeboxPipeline.from_pretrained(workplace / "model")
    audio = noise_audio(codes_in_s(300), 4)
    expected = pipe.vqvae.encode(torch.round(audio * 32767)[None] / 32767)
    assert (whole.codes(3, 1) == expected[1][0].numpy()).mean() > 0.9
    assert "levels 0 to 2" in refusal(lambda: build_catalogue(both[:1], tmp_path / "d", levels=[3]))


def test_the_nearest_passage_by_embedding_is_found(tmp_path):
    vqvae = JukeboxVQVAE.from_pretrained(Path(DEMO_MODEL) / "vqvae")
    random = np.random.default_rng(0)
    songs = [random.integers(0, 1024, length).astype(np.uint16) for length in (120, 120, 127, 120)]
    catalogue = top_catalogue(tmp_path / "c", songs, vqvae)

    def embed(audio: torch.Tensor) -> torch.Tensor:
        return audio.unflatten(1, (-1, 256)).square().mean(2).sqrt()

    seconds = 40 * 256 / 22050
    (found,) = nearest_passages(vqvae, catalogue, [songs[3][20:80]], embed, seconds=seconds, excerpts=10)
    assert found.song == 3 and found.song_start_in_s - found.start_in_s == pytest.approx(seconds / 2)
    assert found.similarity > 0.97 and found.share_as_close == 1 / 11
    ends = [songs[1][-47:], np.concatenate([songs[0][:7], songs[2][-40:]])]  # in the last passages alone
    found = nearest_passages(vqvae, catalogue, ends, embed, seconds=seconds)
    for passage, song, start in zip(found, (1, 2), (80, 87), strict=True):
        assert passage.song == song and passage.similarity > 0.97
        assert (passage.start_in_s, passage.song_start_in_s) == pytest.approx((7 * 256 / 22050, start * 256 / 22050))
    refused = refusal(lambda: nearest_passages(vqvae, catalogue, [songs[3][:30]], embed, seconds=seconds))
    assert "choose smaller seconds" in refused
