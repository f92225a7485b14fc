"""Converted models of transformers 4 have the measured outputs, however their weights are stored."""

from __future__ import annotations

import json
import math
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.golden import ORIGINAL, checkpoint
from helpers.refusals import refusal_to_write
from safetensors.torch import load_file, save_file

from hf_jukebox import JukeboxPipeline, JukeboxPriorConfig, JukeboxVQVAEConfig
from hf_jukebox.convert import convert_transformers, model_sources, transformers4_settings
from hf_jukebox.hierarchy import encoder_fingerprint

GOLDEN = ORIGINAL.parent / "transformers"
MEASURED = load_file(GOLDEN / "expected.safetensors")
WEIGHTS: dict[str, torch.Tensor] = torch.load(GOLDEN / "pytorch_model.bin", weights_only=True)
Settings = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:.*has no artist")  # the golden model has no tables


def source(folder: Path, change: Callable[[Settings], Any] | None = None) -> Path:
    """Write the golden model's folder without its weights, with a change to its settings."""
    folder.mkdir()
    settings = json.loads((GOLDEN / "config.json").read_text())
    if change is not None:
        change(settings)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def with_weights(folder: Path, weights: dict[str, torch.Tensor] = WEIGHTS) -> Path:
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def converted(folder: Path) -> JukeboxPipeline:
    output = folder.parent / f"{folder.name}-converted"
    convert_transformers(folder, output)
    return JukeboxPipeline.from_pretrained(output)


def refusal(folder: Path, error: type[Exception] = ValueError) -> str:
    """Return the one sentence of the error, and check that nothing is left behind."""
    return refusal_to_write(folder.parent, lambda: convert_transformers(folder, folder.parent / "refused"), error)


def check_as_measured(pipe: JukeboxPipeline) -> None:
    for level, codes in enumerate(pipe.vqvae.encode(MEASURED["x"])):
        assert torch.equal(codes, MEASURED[f"codes_{level}"].long())
        assert (pipe.vqvae.decode(codes, level) - MEASURED[f"decoded_from_{level}"]).abs().max() <= 1e-4
    for level, prior in enumerate(pipe.priors):
        name, n_lyrics, shift = f"prior{level}", prior.config.num_joint_lyrics, prior._code_shift
        with torch.no_grad():
            out = prior(MEASURED[f"{name}.z"], MEASURED.get(f"{name}.z_cond"), MEASURED[f"{name}.metadata"])
        logits = MEASURED[f"{name}.preds"]
        assert (out.logits - logits[:, n_lyrics:, shift:]).abs().max() <= 1e-3
        if n_lyrics:
            assert (out.lyrics_logits - logits[:, :n_lyrics]).abs().max() <= 1e-3
        assert math.isclose(out.loss, MEASURED[f"{name}.loss"], rel_tol=1e-4)


def in_shards(folder: Path, name: str, save: Callable[[dict[str, torch.Tensor], Path], Any], count: int = 3) -> Path:
    """Spread the golden weights over several files, so that every model is in all of them."""
    names, stem, ending = list(WEIGHTS), *name.rsplit(".", 1)
    files = [f"{stem}-{number + 1:05}-of-{count:05}.{ending}" for number in range(count)]
    for number, file in enumerate(files):
        save({key: WEIGHTS[key].clone() for key in names[number::count]}, folder / file)
    weight_map = {key: files[index % count] for index, key in enumerate(names)}
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def save_old(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


# Weights --------------------------------------------------------------------------------------------------------------


def test_the_golden_model_is_converted(tmp_path: Path):
    convert_transformers(GOLDEN, tmp_path / "out")
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    check_as_measured(pipe)
    assert {prior.config.vqvae_fingerprint for prior in pipe.priors} == {encoder_fingerprint(pipe.vqvae)}


def test_the_old_serialisation_is_read(tmp_path: Path):
    folder = source(tmp_path / "model")
    save_old(WEIGHTS, folder / "pytorch_model.bin")
    check_as_measured(converted(folder))


def test_safetensors_are_read(tmp_path: Path):
    folder = source(tmp_path / "model")
    tied = "priors.0.prior.fc_proj_out.weight"  # transformers 4 leaves out what is tied
    save_file({name: tensor.clone() for name, tensor in WEIGHTS.items() if name != tied}, folder / "model.safetensors")
    check_as_measured(converted(folder))


@pytest.mark.parametrize(
    ("name", "save"),
    [("pytorch_model.bin", torch.save), ("pytorch_model.bin", save_old), ("model.safetensors", save_file)],
)
def test_shards_are_read(tmp_path: Path, name: str, save: Callable[[dict[str, torch.Tensor], Path], Any]):
    check_as_measured(converted(in_shards(source(tmp_path / "model"), name, save)))
    index = json.loads((tmp_path / "model-converted" / "prior_2" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)}


def test_a_hub_repository_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def snapshot_download(name: str, allow_patterns: list[str], revision: str | None) -> str:
        asked.append(allow_patterns)
        (tmp_path / "hub").mkdir(exist_ok=True)
        for pattern in allow_patterns:
            for path in GOLDEN.glob(pattern):
                shutil.copyfile(path, tmp_path / "hub" / path.name)
        return str(tmp_path / "hub")

    monkeypatch.setattr(model_sources, "snapshot_download", snapshot_download)
    convert_transformers("someone/jukebox", tmp_path / "out")
    check_as_measured(JukeboxPipeline.from_pretrained(tmp_path / "out"))
    assert asked == [["*.json", "model*.safetensors"], ["*.json", "pytorch_model*.bin"]]  # nothing else is downloaded
    assert "someone/jukebox" in (tmp_path / "out" / "README.md").read_text()


# Settings -------------------------------------------------------------------------------------------------------------


def test_priors_listed_by_name_are_read(tmp_path: Path):
    def named(settings: Settings) -> None:
        for number, prior in enumerate(settings.pop("prior_config_list")):
            settings[f"prior_{number}"] = prior

    check_as_measured(converted(with_weights(source(tmp_path / "model", named))))


def test_outer_settings_take_precedence(tmp_path: Path):
    def contrary(settings: Settings) -> None:
        for prior in settings["prior_config_list"]:
            prior |= {"timing_dims": 7, "max_nb_genres": 1, "metadata_conditioning": False, "max_duration": 1.0}
            prior |= {"sampling_rate": 8000, "min_duration": 0.5}

    check_as_measured(converted(with_weights(source(tmp_path / "model", contrary))))


@pytest.mark.parametrize("name", ["prior_1b_lyrics", "prior_5b_lyrics", "upsampler_level_0", "upsampler_level_1"])
def test_released_priors_are_recognised_by_their_size(name: str):
    released, vqvae = JukeboxPriorConfig.from_preset(name), JukeboxVQVAEConfig.from_preset("5b")
    wrong = {"blocks": 64, "alignment_layer": 68, "alignment_head": 2, "timing_dims": 64, "metadata_dims": [604, 7896]}
    sizes = {"hidden_size": released.hidden_size, "num_layers": released.num_hidden_layers, "n_ctx": released.n_ctx}
    config = transformers4_settings.prior_config(wrong | sizes, released.level, vqvae)
    assert config.to_dict() == released.to_dict()


def test_the_alignment_head_is_kept_if_the_model_has_the_layer(tmp_path: Path):
    def aligned(settings: Settings) -> None:
        settings["prior_config_list"][0] |= {"alignment_layer": 31, "alignment_head": 1}

    plain = converted(with_weights(source(tmp_path / "plain")))
    assert plain.prior_2.config.alignment_layer is None  # layer 68 of 48
    config = converted(with_weights(source(tmp_path / "aligned", aligned))).prior_2.config
    assert (config.alignment_layer, config.alignment_head) == (31, 1)


def separate_lyrics(tmp_path: Path) -> Path:
    """Return the golden prior_5b_lyrics under the names of transformers 4, on top of the golden upsamplers."""
    hps, tensors = (torch.load(checkpoint("prior_5b_lyrics"), weights_only=True)[key] for key in ("hps", "model"))

    def lyrics_on_top(settings: Settings) -> None:
        settings |= {"timing_dims": 16, "min_duration": hps["min_duration"], "max_duration": hps["max_duration"]}
        settings["prior_config_list"][0] |= {
            "attention_pattern": "large_separated_enc_dec_w_lyrics",
            "num_layers": hps["prior_depth"],
            "is_encoder_decoder": False,
            "merged_decoder": True,
            "lyric_vocab_size": 80,
            "nb_relevant_lyric_tokens": 12,
            "metadata_dims": [10, 7],
            "alignment_layer": hps["alignment_layer"],
            "alignment_head": hps["alignment_head"],
            "encoder_config": {
                "attention_pattern": "raw_column_previous_row_attention",
                "hidden_size": hps["prime_width"],
                "num_layers": hps["prime_depth"],
                "n_heads": hps["prime_heads"],
                "blocks": hps["prime_blocks"],
                "n_ctx": 12,
                "init_scale": 1.0,
            },
        }

    names = {
        r"^prime_x_out": "encoder.lm_head",
        r"^prime_state_proj": "encoder.proj_in",
        r"^prime_state_ln": "encoder.final_layer_norm",
        r"^prime_prior": "encoder",
        r"^y_emb\.(artist|bow_genre)_emb\.emb": r"metadata_embedding.\1_emb",
        r"^y_emb": "metadata_embedding",
        r"\.x_emb": ".embed_tokens",
        r"\.x_out": ".fc_proj_out",
        r"\.ln_([01])": r".layer_norm_\1",
        r"\.w$": ".weight",
        r"\.b$": ".bias",
    }
    weights = {name: tensor for name, tensor in WEIGHTS.items() if not name.startswith("priors.0.")}
    for name, tensor in tensors.items():
        for pattern, replacement in names.items():
            name = re.sub(pattern, replacement, name)
        weights[f"priors.0.{name}"] = tensor
    return with_weights(source(tmp_path / "separate", lyrics_on_top), weights)


def test_a_separate_lyrics_encoder_is_converted(tmp_path: Path):
    prior = converted(separate_lyrics(tmp_path)).prior_2
    measured = load_file(ORIGINAL / "prior_5b_lyrics_expected.safetensors")
    with torch.no_grad():
        out = prior(measured["z_16"], labels=measured["y_16"])
    assert (out.logits - measured["preds_16"]).abs().max() <= 1e-3
    assert math.isclose(out.loss, measured["loss_16"], rel_tol=1e-4)
    assert (prior.alignment(measured["z_0"], measured["y_0"]) - measured["alignment"]).abs().max() <= 1e-4
    assert prior.config.label_rules == "v2"


# Names ----------------------------------------------------------------------------------------------------------------

ARTISTS = {"unknown": 0, "n.w.a": 1, "r.e.m.": 5, "unknown.v2": 0, "n_w_a.v2": 2}
GENRES = {"unknown": 0, "deep house": 1, "deep.v2": 3, "house.v2": 4}


def with_tables(folder: Path, artists: dict[str, int] = ARTISTS, genres: dict[str, int] = GENRES) -> Path:
    (folder / "artists.json").write_text(json.dumps(artists))
    (folder / "genres.json").write_text(json.dumps(genres))
    return with_weights(folder)


def test_names_of_two_vocabularies_are_separated(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        convert_transformers(with_tables(source(tmp_path / "model")), tmp_path / "out")
    tokenizer = JukeboxPipeline.from_pretrained(tmp_path / "out").tokenizer
    top, below = tokenizer.vocabularies[2], tokenizer.vocabularies[0]
    assert (top.rules, below.rules) == ("v3", "v2")
    assert top.artists == {"unknown": 0, "n.w.a": 1, "r.e.m.": 5} and top.genres == {"unknown": 0, "deep house": 1}
    assert below.artists == {"unknown": 0, "n_w_a": 2} and below.genres == {"deep": 3, "house": 4}


def test_a_table_of_a_larger_model_is_rejected(tmp_path: Path):
    folder = with_tables(source(tmp_path / "model"), genres={"unknown": 0, "polka": 6})
    message = refusal(folder)
    assert "genres.json" in message and "6" in message


def test_without_tables_every_name_is_unknown(tmp_path: Path):
    with pytest.warns(UserWarning, match="has no artist"):
        convert_transformers(GOLDEN, tmp_path / "out")
    tokenizer = JukeboxPipeline.from_pretrained(tmp_path / "out").tokenizer
    labels = tokenizer(level=0, total_length=8192, window_length=256)["labels"]
    assert labels.shape == (1, 4 + 5) and labels[0, 3] == 0


# Rejected input ------------------------------------------------------------------------------------------------------


def test_tensors_that_do_not_fit_are_listed(tmp_path: Path):
    weights = dict(WEIGHTS)
    weights["priors.3.extra"] = weights.pop("vqvae.decoders.0.out.bias")
    weights["priors.1.prior.embed_tokens.weight"] = torch.zeros(65, 32)
    message = refusal(with_weights(source(tmp_path / "model"), weights))
    assert "missing vqvae.decoders.0.out.bias" in message and "unexpected priors.3.extra" in message
    assert "priors.1.prior.embed_tokens.weight is [65, 32] instead of [64, 32]" in message


def test_missing_or_damaged_files_are_reported(tmp_path: Path):
    folder = tmp_path / "model"
    assert "neither a folder" in refusal(tmp_path / "nothing", OSError)
    folder.mkdir()
    assert "config.json" in refusal(folder, FileNotFoundError)
    shutil.rmtree(folder)
    source(folder)
    assert "pytorch_model.bin" in refusal(folder, FileNotFoundError)
    in_shards(folder, "pytorch_model.bin", torch.save)
    (folder / "pytorch_model-00002-of-00003.bin").unlink()
    assert "pytorch_model-00002-of-00003.bin" in refusal(folder, FileNotFoundError)
    save_file({"a": torch.zeros(99)}, folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-5])
    assert "cut short" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda settings: settings.pop("vqvae_config"), "vqvae_config"),
        (lambda settings: settings.pop("prior_config_list"), "3 levels"),
        (lambda settings: settings["prior_config_list"].pop(), "3 levels"),
        (lambda settings: settings["prior_config_list"][1].pop("n_heads"), "n_heads"),
        (lambda settings: settings["prior_config_list"][1].update(n_heads="one"), "num_attention_heads"),
        (lambda settings: settings["prior_config_list"][0].update(attention_pattern="row"), "attention pattern 'row'"),
        (lambda settings: settings["prior_config_list"][0].update(is_encoder_decoder=False), "encoder_config"),
        (lambda settings: settings["prior_config_list"][0].update(lyric_vocab_size=33), "33"),
    ],
)
def test_unusable_settings_are_reported(tmp_path: Path, change: Callable[[Settings], Any], words: str):
    message = refusal(with_weights(source(tmp_path / "model", change)))
    assert words in message and "config.json" in message
