"""Embeddings: activations of the top prior, pooled over time."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.golden import golden_pipeline_folder
from helpers.refusals import refusal
from helpers.tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.audio import write_audio

N_CTX, WIDTH, DEPTH = 64, 32, 3  # of the tiny top priors
SHORTEST = RATE  # samples of the shortest song in their timing tables


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def songs(*top_codes: float) -> list[np.ndarray]:
    """Return noise of these lengths."""
    return [noise_audio(codes_in_s(length), seed).numpy() for seed, length in enumerate(top_codes)]


def full_pass(pipe: JukeboxPipeline, codes: torch.Tensor, total_length: int, offset: int = 0) -> list[np.ndarray]:
    """Return the hidden states `[T, hidden_size]` of `forward`, for the codes `[T]` of one window."""
    config, labels = pipe.priors[-1].config, None
    if config.has_labels:
        window = config.n_ctx * config.hop_length
        no_genres, no_lyrics = [0] + [-1] * (config.genre_words - 1), [0] * config.n_lyrics
        labels = torch.tensor([[total_length, offset, window, 0, *no_genres, *no_lyrics]])
    with torch.no_grad():
        states = pipe.priors[-1](codes[None], labels=labels, output_hidden_states=True).hidden_states
    return [hidden[0, config.num_joint_lyrics :].numpy() for hidden in states]


def top_codes(pipe: JukeboxPipeline, song: np.ndarray) -> torch.Tensor:
    return pipe.vqvae.encode(torch.from_numpy(song)[None])[-1][0]


@pytest.mark.parametrize("top", ["tiny_prior", "tiny_labelled_prior", "tiny_lyrics_prior"])
def test_embeddings_are_means_of_the_hidden_states(top: str) -> None:
    pipe = tiny_pipeline(top)
    depth = pipe.prior_2.config.num_hidden_layers
    (song,) = songs(50.5)
    out = pipe.embed((song, RATE), layers=range(depth + 1))
    expected = full_pass(pipe, top_codes(pipe, song), SHORTEST)
    assert out.embeddings.shape == (1, depth + 1, WIDTH) and out.embeddings.dtype == np.float32
    np.testing.assert_allclose(out.embeddings[0], [hidden.mean(0) for hidden in expected], atol=1e-5, rtol=1e-5)
    assert (out.names, out.lengths, out.codes_per_second) == (["recording 0"], [50], RATE / TOP_HOP)
    assert np.array_equal(pipe.embed((song, RATE)).embeddings[:, 0], out.layer(depth // 2))


def test_numbers_do_not_depend_on_other_recordings_of_a_batch(pipe: JukeboxPipeline) -> None:
    batch = songs(50, 3, 64, 100, 7, 64, 31)
    arguments = {"layers": (1, 3), "pool": ("mean", codes_in_s(10), None), "sampling_rate": RATE}
    alone = [pipe.embed([song], **arguments) for song in batch]
    for count in (3, 7):
        together = pipe.embed(batch[:count], **arguments)
        for pool, values in together.pooled.items():
            for row in range(count):
                assert np.array_equal(values[row], alone[row].pooled[pool][0])


def test_long_recordings_are_read_window_by_window(pipe: JukeboxPipeline) -> None:
    (song,) = songs(150)
    codes = top_codes(pipe, song)
    total = max(len(song), SHORTEST)
    out = pipe.embed(song, layers=2, pool=(None, "mean"), hop_fraction=0.5, sampling_rate=RATE)
    expected = np.zeros((150, WIDTH), np.float32)
    # Windows begin at 0, 32, 64 and 86, where the last one ends with the song; a code is read from its first window.
    for start in (86, 64, 32, 0):
        expected[start : start + N_CTX] = full_pass(pipe, codes[start : start + N_CTX], total, start * TOP_HOP)[2]
    np.testing.assert_allclose(out.embeddings[0][:, 0], expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(out.pooled["mean"][0, 0], expected.mean(0), atol=1e-5, rtol=1e-5)
    first = pipe.embed(song, layers=2, pool=None, windows=2, hop_fraction=0.5, sampling_rate=RATE)
    assert np.array_equal(first.embeddings[0], out.embeddings[0][:96]) and first.lengths == [96]


@pytest.mark.parametrize("per_stretch", [10, 10.7, 1])
def test_stretches_hold_the_codes_that_begin_in_them(pipe: JukeboxPipeline, per_stretch: float) -> None:
    (song,) = songs(97)
    seconds = codes_in_s(per_stretch)
    out = pipe.embed(song, layers=(0, 3), pool=(None, seconds), sampling_rate=RATE)
    every_code, stretches = out.pooled[None][0], out.pooled[seconds][0]
    stretch = np.floor(np.arange(97) / per_stretch + 1e-9).astype(int)
    expected = [every_code[stretch == number].mean(0) for number in range(stretch[-1] + 1)]
    np.testing.assert_allclose(stretches, expected, atol=1e-5, rtol=1e-5)


def test_codes_are_embedded_like_the_audio_that_they_were_encoded_from(pipe: JukeboxPipeline) -> None:
    (song,) = songs(70)
    codes = pipe.vqvae.encode(torch.from_numpy(song)[None])
    from_audio = pipe.embed(song, sampling_rate=RATE)
    assert np.array_equal(pipe.embed(codes=codes).embeddings, from_audio.embeddings)
    assert np.array_equal(pipe.embed(codes=[None, None, codes[2]]).embeddings, from_audio.embeddings)


def test_files_of_any_form_give_the_same_numbers(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    (song,) = songs(70)
    write_audio(tmp_path / "a.wav", song, RATE)
    by_path = pipe.embed([tmp_path / "a.wav", str(tmp_path / "a.wav")])
    assert by_path.names == ["a.wav", "a.wav"]
    assert np.array_equal(by_path.embeddings[0], by_path.embeddings[1])
    content = pipe.embed((tmp_path / "a.wav").read_bytes())
    assert np.array_equal(content.embeddings[0], by_path.embeddings[0])


def test_recordings_longer_than_the_prior_was_trained_on_have_the_last_possible_labels() -> None:
    limits = {"min_duration": codes_in_s(N_CTX), "max_duration": codes_in_s(2 * N_CTX)}
    pipe = tiny_pipeline("tiny_labelled_prior", **limits)
    (song,) = songs(5 * N_CTX)
    out = pipe.embed(song, layers=3, pool=None, sampling_rate=RATE)
    codes, total = top_codes(pipe, song), 2 * N_CTX * TOP_HOP - 1
    expected = full_pass(pipe, codes[3 * N_CTX : 4 * N_CTX], total, N_CTX * TOP_HOP)[3]
    np.testing.assert_allclose(out.embeddings[0][3 * N_CTX : 4 * N_CTX, 0], expected, atol=1e-5, rtol=1e-5)


# Files of the weights --------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Folder of a pipeline whose top prior has a file per block, about."""
    pipeline = tiny_pipeline("tiny_lyrics_prior", num_hidden_layers=10)
    pipeline.save_pretrained(tmp_path / "model", max_shard_size="12KB")
    return tmp_path / "model"


def delete_above(folder: Path, layer: int) -> int:
    """Delete the files that hold only weights above a layer; return their number."""
    files: dict[str, set[str]] = {}
    for name, file in json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].items():
        files.setdefault(file, set()).add(name)
    above = {f"transformer.blocks.{number}." for number in range(layer, 10)} | {"head.", "lyrics_head."}
    unneeded = [file for file, names in files.items() if all(name.startswith(tuple(above)) for name in names)]
    for file in unneeded:
        (folder / file).unlink()
    return len(unneeded)


def test_weights_above_the_layer_are_neither_read_nor_needed(sharded: Path) -> None:
    (song,) = songs(40)
    whole = JukeboxPipeline.from_pretrained(sharded)
    expected = whole.embed(song, layers=(2, 5), sampling_rate=RATE).embeddings
    assert delete_above(sharded / "prior_2", 5) > 3
    (sharded / "prior_0" / "model.safetensors.index.json").unlink()
    pipe = JukeboxPipeline.from_pretrained(sharded, low_memory=True)
    for layers in ((2,), (5, 2)):  # the second needs more blocks than are in memory
        out = pipe.embed(song, layers=layers, sampling_rate=RATE)
        assert np.array_equal(out.embeddings, expected[:, [(2, 5).index(layer) for layer in layers]])
    assert "is missing" in refusal(lambda: pipe.embed(song, layers=8, sampling_rate=RATE))


def test_a_prior_that_was_read_in_part_still_samples(tmp_path: Path) -> None:
    tiny_pipeline("tiny_labelled_prior").save_pretrained(tmp_path / "model")
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "model", low_memory=True, dtype="bfloat16")
    whole = JukeboxPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16")
    (song,) = songs(40)
    expected = whole.embed(song, layers=1, sampling_rate=RATE).embeddings
    assert np.array_equal(pipe.embed(song, layers=1, sampling_rate=RATE).embeddings, expected)
    arguments = {"audio_length_in_s": codes_in_s(8), "levels": 2, "generator": 1, "output_type": "latent"}
    assert torch.equal(pipe(**arguments).codes[2], whole(**arguments).codes[2])


def test_weights_that_do_not_fit_are_named(sharded: Path) -> None:
    config = sharded / "prior_2" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_time_bins": 7}))
    pipe = JukeboxPipeline.from_pretrained(sharded, low_memory=True)
    message = refusal(lambda: pipe.embed(songs(40)[0], layers=1, sampling_rate=RATE))
    assert "timing_embedding" in message and "instead of [7, 32]" in message


# The published recipe --------------------------------------------------------------------------------------------


def test_the_recipe_of_jukemir_step_by_step(tmp_path: Path) -> None:
    """The golden prior has 32 codes of 128 samples per window, 5B's labels, and an output matrix of its own."""
    folder = golden_pipeline_folder("prior_5b", tmp_path)
    settings = folder / "prior_2" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_duration": 600.0}))  # as published
    pipe = JukeboxPipeline.from_pretrained(folder)
    rate, config = pipe.sampling_rate, pipe.prior_2.config
    assert (config.n_ctx, config.hop_length, config.merged_decoder) == (32, 128, True)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (30 * rate, 2)).astype(np.float32)
    noise[28 * rate] = [0.5, 1.0]  # the peak of the mix is 0.75, after the first 25 s
    soundfile.write(tmp_path / "stereo.wav", noise, rate, subtype="FLOAT")
    mono = noise.mean(1)  # 1. the mean of the channels
    normalised = mono / np.float32(0.75)  # 2. scaled by the peak of the whole file
    first = torch.from_numpy(normalised[: 25 * rate])  # 3. the first 25 s
    codes = pipe.vqvae.encode(first[None])[-1][:, :32]  # 4. the first window of their codes
    # 5. The labels: 62 s in whole codes, from the start, unknown artist and genre.
    total = 62 * rate - 62 * rate % 128
    labels = torch.tensor([[total, 0, 32 * 128, 0, 0, -1, -1, -1, -1]])
    with torch.no_grad():  # 6. one pass, in float32
        states = pipe.prior_2(codes, labels=labels, output_hidden_states=True).hidden_states
    assert pipe.dtype == torch.float32
    half = config.num_hidden_layers // 2
    expected = states[half][0].mean(0).numpy()  # 7. the residual stream after half of the blocks, averaged
    out = pipe.embed(tmp_path / "stereo.wav", compat="jukemir")
    assert out.layers == (half,) and out.lengths == [32]
    np.testing.assert_allclose(out.embeddings[0, 0], expected, atol=1e-5, rtol=1e-5)
    assert (rate, total) == (44100, 2_734_080)


def test_the_recipe_refuses_what_it_does_not_define(pipe: JukeboxPipeline) -> None:
    song = songs(40)[0]
    assert "leave `windows` and `hop_fraction` out" in refusal(lambda: pipe.embed(song, compat="jukemir", windows=2))
    assert "give audio instead of codes" in refusal(
        lambda: pipe.embed(codes=[None, None, torch.zeros(1, 4, dtype=torch.long)], compat="jukemir")
    )
    half = tiny_pipeline("tiny_labelled_prior")
    half.to(torch.bfloat16)
    assert "load the pipeline with `dtype='float32'`" in refusal(lambda: half.embed(song, compat="jukemir"))


# Wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 4}, "There is no layer 4: this prior has 3, so `layers` may be 0"),
        ({"layers": (1, -1)}, "There is no layer -1"),
        ({"layers": 1.5}, "`layers` must be a whole number"),
        ({"layers": ()}, "must not be empty"),
        ({"pool": "max"}, "`pool` must be 'mean', a number of seconds or None"),
        ({"pool": 0.001}, "one code takes 0.0058 s"),
        ({"pool": float("nan")}, "one code takes"),
        ({"windows": 0}, "`windows` must be at least 1"),
        ({"hop_fraction": 0}, "hop_fraction"),
        ({"compat": "marble"}, "`compat` must be 'jukemir' or None"),
        ({"codes": [None, None, None]}, "no codes of level 2, which are needed"),
        ({"codes": [None, None, torch.full((1, 4), 64)]}, "must lie between 0 and 63"),
    ],
)
def test_wrong_arguments_are_refused(pipe: JukeboxPipeline, arguments: dict[str, object], message: str) -> None:
    audio = {} if "codes" in arguments else {"audio": "no-such-file.wav"}
    assert message in refusal(lambda: pipe.embed(**audio, **arguments))


def test_recordings_that_cannot_be_embedded_are_named(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    write_audio(tmp_path / "short.wav", songs(0.5)[0], RATE)
    (tmp_path / "text.wav").write_text("no audio")
    assert "short.wav has 0.0029 s, less than one code" in refusal(lambda: pipe.embed(tmp_path / "short.wav"))
    assert "text.wav" in refusal(lambda: pipe.embed([tmp_path / "text.wav"]))
    assert "none.wav" in refusal(lambda: pipe.embed(tmp_path / "none.wav"))
    assert "is an address" in refusal(lambda: pipe.embed("https://example.org/a.wav"))
    assert "Give either recordings as audio, or codes" in refusal(pipe.embed)
    assert "nothing to embed" in refusal(lambda: pipe.embed([]))
    without = tiny_pipeline()
    without.register_modules(prior_2=None)
    assert "no top prior" in refusal(lambda: without.embed(songs(4)[0]))
