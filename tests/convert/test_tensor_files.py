"""Files of tensors, read one by one: every format gives the same tensors, and damage is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.refusals import refusal
from safetensors.torch import save_file

from hf_jukebox.convert import tensor_files
from hf_jukebox.convert.tensor_files import TensorFile

Save = Callable[[dict[str, torch.Tensor], Path], Any]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(40, 30, generator=generator)
    return {
        "weight": weight,
        "tied": weight,
        "transposed": weight.t(),
        "rows": weight[7:9],
        "half": weight.half(),
        "bfloat16": weight.bfloat16(),
        "step": torch.tensor(3),
        "empty": torch.empty(0, 4),
    }


def save_old(values: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(values, path, _use_new_zipfile_serialization=False)


def save_safetensors(values: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.clone(memory_format=torch.contiguous_format) for name, value in values.items()}, path)


@pytest.mark.parametrize("small", [0, 2**26], ids=["one by one", "whole"])
@pytest.mark.parametrize(
    ("name", "save"), [("new.bin", torch.save), ("old.bin", save_old), ("x.safetensors", save_safetensors)]
)
def test_every_format_gives_the_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, save: Save, small: int
) -> None:
    monkeypatch.setattr(tensor_files, "_SMALL", small)
    save(tensors(), tmp_path / name)
    file = TensorFile(tmp_path / name)
    assert file.shapes == {name: list(tensor.shape) for name, tensor in tensors().items()}
    read = file.read(["rows", "transposed"]) | file.read(file.shapes.keys())
    for key, tensor in tensors().items():
        assert read[key].dtype == tensor.dtype and torch.equal(read[key], tensor)
    assert read.keys() == tensors().keys() and not read["weight"].is_meta


@pytest.mark.parametrize(("name", "save"), [("new.bin", torch.save), ("x.safetensors", save_safetensors)])
def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, save: Save) -> None:
    monkeypatch.setattr(tensor_files, "_SMALL", 0)
    path = tmp_path / name
    save(tensors(), path)
    content = path.read_bytes()
    values = tensors()["weight"].numpy().tobytes()
    if name == "new.bin":
        start = content.index(values) + 100
        path.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
        assert "is damaged or cut short (Bad CRC-32" in refusal(lambda: TensorFile(path).read(["weight"]))
        assert len(TensorFile(path).read(["half"])) == 1
    path.write_bytes(content[:-1000])
    assert "download it again" in refusal(lambda: TensorFile(path))
    with pytest.raises(FileNotFoundError):
        TensorFile(tmp_path / f"none{path.suffix}")
