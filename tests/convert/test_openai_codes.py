"""Upsampling of codes that the published implementation has sampled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import tiny_pipeline
from typer.testing import CliRunner, Result

from hf_jukebox import JukeboxPipeline, JukeboxRun
from hf_jukebox.cli import app
from hf_jukebox.convert.openai_codes import read_published_codes

TOP = torch.randint(64, (1, 5), generator=torch.Generator().manual_seed(0))
HALF = torch.randint(64, (1, 9), generator=torch.Generator().manual_seed(1))
EMPTY = torch.zeros(1, 0, dtype=torch.long)
FULL = [torch.zeros(1, 80, dtype=torch.long), torch.zeros(1, 20, dtype=torch.long), TOP]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def model(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pipe.save_pretrained(folder)
    return folder


def upsample(content: Any, folder: Path, model: Path, name: str = "data.pth.tar") -> Result:
    torch.save(content, folder / name)
    arguments = ["upsample", folder / name, "-o", folder / "out", "--model", model, "--seed", 1]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("name", "wrapped"),
    [
        ("zs-top-level-final.t", lambda codes: codes),
        ("sample.z", tuple),
        ("data.pth.tar", lambda codes: {"zs": codes, "labels": [], "x": torch.zeros(3)}),
        ("data.pth.tar", lambda codes: {"zs": tuple(codes)}),
    ],
)
@pytest.mark.parametrize("half", [EMPTY, HALF], ids=["empty", "half"])
def test_codes_are_upsampled_to_the_length_of_the_top_level(
    pipe: JukeboxPipeline, model: Path, tmp_path: Path, name: str, wrapped: Callable[[Any], Any], half: torch.Tensor
) -> None:
    result = upsample(wrapped([EMPTY, half.int(), TOP]), tmp_path, model, name)
    assert result.exit_code == 0, result.output
    assert "The labels in" in result.stderr and "--artist, --genre" in result.stderr
    codes = JukeboxRun.open(tmp_path / "out").codes
    assert [level_codes.shape[1] for level_codes in codes] == [80, 20, 5]
    assert torch.equal(codes[2], TOP) and torch.equal(codes[1][:, : half.shape[1]], half)
    known = None if half is EMPTY else half
    in_memory = pipe(codes=[None, known, TOP], generator=torch.Generator().manual_seed(1), output_type="latent")
    assert all(torch.equal(a, b) for a, b in zip(codes, in_memory.codes, strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FULL, "complete down to the finest level"),
        ([EMPTY, EMPTY, EMPTY], "no codes of the top level"),
        ([TOP, TOP], "codes of 2 levels, but the model has 3"),
        ([], "holds no codes"),
        ([1, 2, 3], "holds no codes"),
        (TOP, "holds no codes"),
        ({"zs": {"0": TOP}}, "holds no codes"),
        ([EMPTY, EMPTY, TOP.float()], "at level 2: expected integers"),
        ([EMPTY, EMPTY, TOP[0]], r"integers \[N, T\], not torch.int64 \[5\]"),
        ([EMPTY, EMPTY, TOP > 3], "at level 2: expected integers"),
        ([EMPTY, EMPTY, TOP.to_sparse()], "holds a tensor that is sparse"),
        ([EMPTY, EMPTY, TOP - 99], "negative numbers at level 2"),
        ([EMPTY, EMPTY, TOP + 64], "level 2 must lie between 0 and 63"),
        ([EMPTY, HALF.repeat(2, 1), TOP], "different numbers of songs"),
        ([EMPTY, HALF.repeat(1, 9), TOP], "longer than the piece"),
        ([EMPTY, EMPTY, torch.zeros(1, 1, dtype=torch.long).expand(2**20, 2**30)], "its tensors would take"),
        ({"zs": [Path("x")]}, "holds a Python object of type pathlib"),
    ],
)
def test_files_that_cannot_be_upsampled_are_refused(model: Path, tmp_path: Path, content: Any, message: str) -> None:
    result = upsample(content, tmp_path, model)
    printed = [line for line in result.stderr.splitlines() if line.startswith("hf-jukebox:")]
    lines = [line for line in printed if "The labels in" not in line]
    assert result.exit_code == 2 and len(lines) == 1, result.output
    with pytest.raises(ValueError, match=message):
        raise ValueError(lines[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02]q\x00h\x00a.", b"\x80\x02}q\x00(X", b"<html>" * 50])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.z").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.z is not a torch checkpoint, or is damaged"):
        read_published_codes(tmp_path / "a.z")
