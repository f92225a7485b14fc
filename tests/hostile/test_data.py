"""Hostile code caches, training checkpoints, original checkpoints and adapters are refused in one sentence."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz.doors import HPARAMS, adapter, checkpoint, codes_folder, torch_file
from helpers.refusals import refusal
from safetensors.torch import load_file, save_file

from hf_jukebox.adapters import adapters_of, load_adapter
from hf_jukebox.convert import convert_openai, convert_transformers
from hf_jukebox.convert.openai_codes import read_published_codes
from hf_jukebox.labels.vocabulary import read_ids
from hf_jukebox.training.checkpoint import load_checkpoint, read_progress
from hf_jukebox.training.data import CodeCache

# Codes of a data set --------------------------------------------------------------------------------------------------


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    shutil.copytree(codes_folder(), tmp_path / "codes")
    return tmp_path / "codes"


def change_songs(folder: Path, **values: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["songs"][0] |= values
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_samples", 10**18),
        ("num_samples", 10**9),
        ("num_samples", -5),
        ("num_samples", 1.5),
        ("num_samples", None),
        ("position", 10**9),
        ("position", -1),
        ("position", 1),
        ("shard", -1),
        ("shard", "../../outside/precious.txt"),
        ("shard", 10**30),
        ("place", -1),
        ("place", "0"),
        ("place", 1),
        ("place", True),
    ],
)
def test_a_song_of_impossible_codes_is_refused(codes: Path, name: str, value: Any) -> None:
    change_songs(codes, **{name: value})
    assert "encode" in refusal(lambda: CodeCache(codes))


@pytest.mark.parametrize(
    "values",
    [
        {"songs": [{}]},
        {"songs": {"a": 1}},
        {"metadata": [{"name": 3}]},
        {"metadata": [{"name": "a", "artist": ["b"]}] * 2},
        {"metadata": []},
        {"unreadable": ["a"]},
        {"fingerprint": None},
        {"format": "1"},
        {"vqvae": {"downs_t": [10**9]}},
        {"vqvae": None},
        {"vqvae": {"codebook_size": 2**60}},
    ],
)
def test_an_index_of_codes_of_the_wrong_shape_is_refused(codes: Path, values: dict[str, Any]) -> None:
    index = json.loads((codes / "index.json").read_text()) | values
    (codes / "index.json").write_text(json.dumps(index))
    assert "not an index of codes" in refusal(lambda: CodeCache(codes))


@pytest.mark.parametrize("fault", ["short", "float", "table", "outside", "negative", "missing", "link"])
def test_a_shard_that_does_not_hold_its_codes_is_refused(codes: Path, fault: str) -> None:
    cache = CodeCache(codes)
    path = codes / "codes-00000.safetensors"
    tensors = load_file(path)
    first = tensors["0.level_0"]
    changed = {
        "short": first[:3],
        "float": first.float(),
        "table": first[None],
        "outside": torch.full_like(first, 30000),
        "negative": torch.full_like(first, -1),
    }
    if fault == "link":
        path.unlink()
        path.symlink_to("/dev/zero")
    elif fault == "missing":
        save_file({"a": first}, path)
    else:
        save_file(tensors | {"0.level_0": changed[fault].contiguous()}, path)
    assert "codes-00000.safetensors" in refusal(lambda: cache.read(cache.songs[0], 0, 0, len(first)))


# Checkpoints of training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "[" * 10**6,
        "[]",
        "{}",
        '{"step": -1, "examples": 1, "config": {}, "loss_scale": {}}',
        '{"step": 1e300, "examples": 1, "config": {}, "loss_scale": {}}',
        '{"step": true, "examples": 1, "config": {}, "loss_scale": {}}',
        '{"step": 1, "examples": "2", "config": {}, "loss_scale": {}}',
        '{"step": 1, "examples": 2, "config": [], "loss_scale": {}}',
        '{"step": 1, "examples": 2, "config": {}, "loss_scale": null}',
        '{"step": 1, "examples": 2, "config": {}, "loss_scale": {}, "evil": 1}',
    ],
)
def test_progress_of_the_wrong_shape_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "training_state").mkdir()
    (tmp_path / "training_state/progress.json").write_text(content)
    assert "resume from another checkpoint" in refusal(lambda: read_progress(tmp_path))


@pytest.mark.parametrize("sharding", ["[]", '{"model": 3}', "[" * 5000, '{"x": {"saved_offsets": [99999999]}}'])
def test_a_training_state_with_a_malformed_header_is_refused(tmp_path: Path, sharding: str) -> None:
    good, tensors = checkpoint()
    shutil.copytree(good, tmp_path / "checkpoint-1")
    for path in (tmp_path / "checkpoint-1/training_state").glob("*.safetensors"):
        save_file(load_file(path), path, {"DCP_SHARDING_INFO": sharding, "format": "pt", "DCP_VERSION": "x"})
    refusal(lambda: load_checkpoint(tmp_path / "checkpoint-1", dict(tensors)))


# Files of torch -------------------------------------------------------------------------------------------------------


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def packed(content: bytes) -> bytes:
    """Compress the entries of an archive, and add one of a gigabyte."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bad:
        for entry in good.infolist():
            bad.writestr(entry.filename, good.read(entry))
        with bad.open("archive/data/9", "w", force_zip64=True) as big:
            for _ in range(64):
                big.write(bytes(2**24))
    return file.getvalue()


@pytest.mark.parametrize("fault", ["code", "bomb", "repeated", "sparse", "floats", "plain pickle", "nested", "folder"])
def test_malicious_and_malformed_files_of_torch_are_refused(tmp_path: Path, outside: Path, fault: str) -> None:
    path, codes = tmp_path / "data.pth.tar", torch.arange(4)[None]
    if fault == "code":
        torch.save({"zs": [codes], "evil": _Evil(outside / "ran/code")}, path)
    elif fault == "bomb":
        path.write_bytes(packed(torch_file()))
    elif fault == "repeated":
        torch.save({"zs": [torch.ones(1, 1, dtype=torch.long).expand(10**6, 10**6)]}, path)
    elif fault == "sparse":
        torch.save({"zs": [torch.sparse_coo_tensor([[0], [0]], [1], (10**6, 10**6))]}, path)
    elif fault == "floats":
        torch.save({"zs": [codes.float()]}, path)
    elif fault == "plain pickle":
        path.write_bytes(pickle.dumps(_Evil(outside / "ran/code")))
    elif fault == "nested":
        path.write_bytes(b"\x80\x02" + b"]" * 10**6 + b"." * 3)
    else:
        path.mkdir()
    assert "data.pth.tar" in refusal(lambda: read_published_codes(path))


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("vqvae", {"downs_t": 5}),
        ("vqvae", {"downs_t": [10**9, 1]}),
        ("vqvae", {"l_bins": 2**60}),
        ("vqvae", {"width": "8"}),
        ("vqvae", {"depth": 10**12}),
        ("vqvae", {"hvqvae_multipliers": {}}),
        ("vqvae", {"emb_width": float("nan")}),
        ("prior", {"n_ctx": 10**15}),
        ("prior", {"level": "0"}),
        ("prior", {"level": [0]}),
        ("prior", {"prior_depth": 10**12}),
        ("prior", {"labels": True, "y_bins": 3}),
        ("prior", {"labels": True, "y_bins": [1, 2, 3]}),
        ("prior", {"attn_order": [2]}),
        ("prior", {"n_vocab": [79]}),
        ("prior", {"cond_depth": 2**40}),
    ],
)
def test_impossible_settings_of_checkpoints_are_refused(tmp_path: Path, model: str, values: dict[str, Any]) -> None:
    hparams = json.loads(json.dumps(HPARAMS))
    (hparams["vqvae"] if model == "vqvae" else hparams["priors"]["prior"]).update(values)
    (tmp_path / "hparams.json").write_text(json.dumps(hparams))
    for name in ("vqvae", "prior"):
        (tmp_path / f"{name}.pth.tar").write_bytes(torch_file(codes=False))

    def convert() -> None:
        paths = [tmp_path / "prior.pth.tar"] * 2
        convert_openai(tmp_path / "vqvae.pth.tar", paths, tmp_path / "out", hparams=tmp_path / "hparams.json")

    refusal(convert)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../outside/precious.txt", "/etc/passwd", 3, None])
def test_shards_of_another_library_lie_beside_their_index(tmp_path: Path, name: Any) -> None:
    source = Path(__file__).parents[1] / "fixtures/golden/transformers"
    shutil.copytree(source, tmp_path / "in")
    (tmp_path / "in/pytorch_model.bin").unlink()
    (tmp_path / "in/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "names the file" in refusal(lambda: convert_transformers(tmp_path / "in", tmp_path / "out"))


@pytest.mark.parametrize("line", ["a;" + "9" * 5000, "a;-1", "a;1.5", "a;²", ";", "a"])
def test_a_table_of_names_with_ids_that_are_no_numbers_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "ids.txt").write_text(f"unknown;0\n{line}\n")
    assert "line 2" in refusal(lambda: read_ids(tmp_path / "ids.txt"))


# Adapters -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"lora_alpha": "4"},
        {"lora_alpha": float("nan")},
        {"lora_alpha": 1e300},
        {"peft_type": "PREFIX_TUNING"},
        {"alpha_pattern": {"(a+)+$": 1}},
        {"alpha_pattern": {"a": "b"}},
        {"alpha_pattern": [1]},
    ],
)
def test_an_adapter_of_impossible_settings_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    good, prior = adapter()
    shutil.copytree(good, tmp_path / "adapter")
    path = tmp_path / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    refusal(lambda: load_adapter(prior, tmp_path / "adapter"))
    assert not adapters_of(prior)
