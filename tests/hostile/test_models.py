"""Hostile models and pipelines are refused in one sentence, before anything is allocated, imported or run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz.doors import pipeline_folder
from helpers.refusals import refusal
from safetensors.torch import save_file

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxPriorConfig, JukeboxTokenizer, JukeboxVQVAE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(pipeline_folder(), tmp_path / "pipeline")
    return tmp_path / "pipeline"


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


HUGE = {
    "n_ctx": 10**15,
    "hidden_size": 10**9,
    "num_hidden_layers": 10**9,
    "codebook_size": 2**62,
    "num_time_bins": 10**12,
    "attention_multiplier": 1e300,
    "mlp_multiplier": 1e9,
    "num_artists": 10**14,
    "genre_words": 10**9,
    "n_lyrics": 2**40,
    "lyrics_hidden_size": 2**50,
    "lyrics_num_hidden_layers": 2**30,
    "alphabet": "a" * 10**6,
}


@pytest.mark.parametrize("name", HUGE)
def test_a_prior_of_a_huge_size_is_refused(folder: Path, name: str) -> None:
    edit(folder / "prior_2/config.json", **{name: HUGE[name]})
    assert name.split("_")[-1] in refusal(lambda: JukeboxPrior.from_pretrained(folder / "prior_2"))


def test_a_prior_within_all_ranges_that_its_files_do_not_hold_is_refused(folder: Path) -> None:
    edit(folder / "prior_2/config.json", hidden_size=2**16, n_ctx=2**22, num_hidden_layers=1000)
    sentence = refusal(lambda: JukeboxPrior.from_pretrained(folder / "prior_2"))
    assert "asks for" in sentence and "TB of weights, but the files hold" in sentence
    assert "TB of weights" in refusal(lambda: JukeboxPipeline.from_pretrained(folder))


def test_weights_in_a_file_full_of_holes_are_refused(folder: Path) -> None:
    edit(folder / "prior_2/config.json", hidden_size=2**16, n_ctx=2**16, num_hidden_layers=100)
    with (folder / "prior_2/model.safetensors").open("r+b") as file:
        file.truncate(2**42)
    assert "of memory" in refusal(lambda: JukeboxPrior.from_pretrained(folder / "prior_2"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("downs_t", [10**6] * 3),
        ("downs_t", [1] * 1000),
        ("downs_t", [-1, 2, 2]),
        ("downs_t", 3),
        ("strides_t", [2**40, 2, 2]),
        ("strides_t", [256, 256, 256]),
        ("multipliers", [10**9, 1, 1]),
        ("width", 2**50),
        ("depth", 2**50),
        ("depth", -1),
        ("depth", True),
        ("depth", "3"),
        ("depth", None),
        ("depth", [1]),
        ("depth", 2.5),
        ("codebook_size", 2**60),
        ("codebook_dim", 2**60),
        ("dilation_growth_rate", 10**9),
        ("dilation_growth_rate", 0),
        ("dilation_cycle", -3),
        ("hidden_multiplier", float("nan")),
        ("hidden_multiplier", 0.001),
        ("sampling_rate", 0),
        ("l1_normalizer", float("inf")),
        ("reconstruction_loss", {"a": 1}),
        ("dtype", "load"),
        ("dtype", ["float32"]),
    ],
)
def test_a_vqvae_of_an_impossible_setting_is_refused(folder: Path, name: str, value: Any) -> None:
    edit(folder / "vqvae/config.json", **{name: value})
    assert name.split("_")[0] in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


@pytest.mark.parametrize("model_type", ["bert", "jukebox_prior", None, ["jukebox_vqvae"]])
def test_a_config_of_another_model_is_refused(folder: Path, model_type: Any) -> None:
    edit(folder / "vqvae/config.json", model_type=model_type)
    assert "vqvae" in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


def test_foreign_settings_are_not_read(folder: Path, outside: Path) -> None:
    foreign = {
        "auto_map": {"AutoModel": "evil.Evil"},
        "quantization_config": {"quant_method": "bitsandbytes"},
        "transformers_weights": "../../outside/precious.txt",
        "attn_implementation": "somebody/kernel",
        "fusion_config": {"a": 1},
        "to_dict": 5,
        "configuration_files": ["../../outside/config.4.0.0.json"],
        "id2label": {"x": "y"},
    }
    edit(folder / "vqvae/config.json", **foreign)
    config = JukeboxVQVAE.from_pretrained(folder / "vqvae").config
    assert not [name for name in foreign if name in config.to_diff_dict()]


@pytest.mark.parametrize("content", ["[" * 10**6, "[]", "3", "null", "{", "\ufeff\x00", '{"n_ctx": 1e999}', ""])
@pytest.mark.parametrize(
    "name", ["model_index.json", "prior_2/config.json", "vqvae/config.json", "tokenizer/artists.json"]
)
def test_json_of_the_wrong_shape_is_refused(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, "utf-8")
    refusal(lambda: JukeboxPipeline.from_pretrained(folder))


@pytest.mark.parametrize("name", ["model_index.json", "prior_2/config.json", "tokenizer/artists.json"])
def test_json_that_never_ends_or_is_very_long_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refusal(lambda: JukeboxPipeline.from_pretrained(folder))
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refusal(lambda: JukeboxPipeline.from_pretrained(folder))
    (folder / name).unlink()
    with (folder / name).open("wb") as file:
        file.truncate(2**40)
    refusal(lambda: JukeboxPipeline.from_pretrained(folder))


EVIL = "from pathlib import Path\nPath({place!r}).touch()\nclass Evil:\n    pass\n"


@pytest.mark.parametrize(
    "values",
    [
        {"_class_name": ["evil", "Evil"]},
        {"_class_name": "StableDiffusionPipeline"},
        {"_class_name": None},
        {"vqvae": ["evil", "Evil"]},
        {"vqvae": ["os", "system"]},
        {"vqvae": [None, None]},
        {"vqvae": "hf_jukebox"},
        {"vqvae": ["hf_jukebox", "JukeboxPrior"]},
        {"vqvae": ["hf_jukebox", ["JukeboxVQVAE"]]},
        {"tokenizer": ["transformers", "AutoTokenizer"]},
        {"prior_0": ["hf_jukebox.cli", "main"]},
        {"scheduler": ["diffusers", "DDIMScheduler"]},
    ],
)
def test_a_pipeline_of_foreign_classes_is_refused_and_nothing_is_run(
    folder: Path, outside: Path, values: dict[str, Any]
) -> None:
    for place in (folder, folder / "vqvae", folder / "prior_0"):
        (place / "evil.py").write_text(EVIL.format(place=str(outside / "ran" / "code")))
        (place / "pipeline.py").write_text(EVIL.format(place=str(outside / "ran" / "code")))
    edit(folder / "model_index.json", **values)
    for low_memory in (False, True):
        refusal(lambda low_memory=low_memory: JukeboxPipeline.from_pretrained(folder, low_memory=low_memory))


@pytest.mark.parametrize("option", ["custom_pipeline", "trust_remote_code"])
def test_foreign_code_is_not_run_even_on_request(folder: Path, outside: Path, option: str) -> None:
    (folder / "pipeline.py").write_text(EVIL.format(place=str(outside / "ran" / "code")))
    value = str(folder) if option == "custom_pipeline" else True
    assert option in refusal(lambda: JukeboxPipeline.from_pretrained(folder, **{option: value}))


def header(path: Path, content: dict[str, Any], data: bytes = b"", length: int | None = None) -> None:
    text = json.dumps(content).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "length"),
    [
        ({"a": TENSOR | {"data_offsets": [0, 2**50]}}, None),
        ({"a": TENSOR | {"data_offsets": [8, 0]}}, None),
        ({"a": TENSOR, "b": TENSOR}, None),
        ({"a": TENSOR | {"shape": [2**40, 2**40]}}, None),
        ({"a": TENSOR | {"shape": [2**62, 2**62]}}, None),
        ({"a": TENSOR | {"shape": [-2]}}, None),
        ({"a": TENSOR | {"dtype": "EVIL"}}, None),
        ({"a": {}}, None),
        ({"a": TENSOR}, 2**63),
        ({"a": TENSOR}, 10**8),
        ({"a": TENSOR}, 2),
        ({}, 0),
    ],
)
def test_weights_with_a_false_header_are_refused(folder: Path, content: dict[str, Any], length: int | None) -> None:
    header(folder / "vqvae/model.safetensors", content, bytes(8), length)
    refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


def test_weights_of_other_types_are_refused_or_read_as_numbers(folder: Path) -> None:
    path = folder / "vqvae/model.safetensors"
    names = dict(JukeboxVQVAE.from_pretrained(folder / "vqvae").state_dict())
    save_file({name: torch.zeros(0, dtype=torch.bool) for name in names}, path, {"format": "pt"})
    assert "of the wrong shape" in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


def in_shards(folder: Path, name: Any) -> None:
    weights = list(JukeboxVQVAE.from_pretrained(folder).state_dict())
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(weights, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_weights_in_shards_are_read(folder: Path) -> None:
    in_shards(folder / "vqvae", "model-00001-of-00001.safetensors")
    JukeboxVQVAE.from_pretrained(folder / "vqvae")


@pytest.mark.parametrize("name", ["../vqvae/x.safetensors", "/etc/passwd", "..", "", "a\\b", None, 3, ["a"], "a\0"])
def test_an_index_that_names_files_elsewhere_is_refused(folder: Path, name: Any) -> None:
    in_shards(folder / "vqvae", name)
    assert "names the file" in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


@pytest.mark.parametrize("target", ["/dev/zero", "/nowhere", "..", "model.safetensors"])
def test_weights_that_are_a_link_to_no_file_are_refused(folder: Path, target: str) -> None:
    (folder / "vqvae/model.safetensors").unlink()
    (folder / "vqvae/model.safetensors").symlink_to(target)
    assert "not a regular file" in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


def test_weights_that_are_a_link_to_a_file_are_read(folder: Path, tmp_path: Path) -> None:
    (folder / "vqvae/model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "vqvae/model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    JukeboxVQVAE.from_pretrained(folder / "vqvae")


@pytest.mark.parametrize("name", [".metadata", "adapter_config.json"])
def test_a_model_that_would_be_unpickled_or_loaded_from_elsewhere_is_refused(folder: Path, name: str) -> None:
    (folder / "vqvae" / name).write_text('{"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}')
    assert name in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "vqvae/model.safetensors").unlink()
    torch.save({"a": torch.ones(1)}, folder / "vqvae/pytorch_model.bin")
    assert "model.safetensors" in refusal(lambda: JukeboxVQVAE.from_pretrained(folder / "vqvae"))


MILLION = {f"name {index}": index for index in range(10**6)}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("artists.json", {"artists": MILLION}),
        ("artists.json", {"artists": {"a": 10**30}}),
        ("artists.json", {"artists": {"a": -1}}),
        ("artists.json", {"artists": {"a": "1"}}),
        ("artists.json", {"artists": ["a"]}),
        ("artists.json", {"levels": [10**9]}),
        ("artists.json", {"levels": "22"}),
        ("artists.json", {"rules": "v9"}),
        ("genres.json", {"genre_words": 10**12}),
        ("genres.json", {"genre_words": "5"}),
        ("genres.json", {"genre_words": True}),
        ("lyrics.json", {"n_lyrics": 10**12}),
        ("lyrics.json", {"n_lyrics": 1.5}),
        ("lyrics.json", {"alphabet": ["a", "b"]}),
        ("lyrics.json", {"alphabet": "aa"}),
    ],
)
def test_tables_of_names_that_fit_no_prior_are_refused(folder: Path, name: str, values: dict[str, Any]) -> None:
    path = folder / "tokenizer" / name
    path.write_text(json.dumps([entry | values for entry in json.loads(path.read_text())]))
    refusal(lambda: JukeboxPipeline.from_pretrained(folder))


@pytest.mark.parametrize("rate", [0, -1, 2**40, "22050", True, None, [1]])
def test_a_tokenizer_of_an_impossible_rate_is_refused(folder: Path, rate: Any) -> None:
    edit(folder / "tokenizer/tokenizer_config.json", sampling_rate=rate)
    assert "sampling_rate" in refusal(lambda: JukeboxTokenizer.from_pretrained(folder / "tokenizer"))


def test_foreign_settings_of_a_tokenizer_are_ignored(folder: Path, outside: Path) -> None:
    values = {
        "auto_map": {"AutoTokenizer": ["evil.Evil", None]},
        "artists_file": str(outside / "precious.txt"),
        "init_inputs": [5],
        "added_tokens_decoder": {"x": 3},
        "chat_template": ["a"],
        "vocabularies": {},
        "from_pretrained": 3,
    }
    edit(folder / "tokenizer/tokenizer_config.json", **values)
    tokenizer = JukeboxTokenizer.from_pretrained(folder / "tokenizer")
    assert tokenizer.vocabularies == JukeboxTokenizer.from_pretrained(pipeline_folder() / "tokenizer").vocabularies


def test_a_config_names_its_class_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"^JukeboxPriorConfig: upsampling_strides must be at least 1"):
        JukeboxPriorConfig(upsampling_strides=[0])
