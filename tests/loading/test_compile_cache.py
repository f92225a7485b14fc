"""Compiled steps are kept for the next start, in a folder that nobody else can write to."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.command_line import run
from helpers.tiny import tiny_pipeline

from hf_jukebox.loading import compile_cache
from hf_jukebox.loading.compile_cache import use_compile_cache

CPU = torch.device("cpu")


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setattr(
        compile_cache, "cached_assets_path", lambda library, namespace, subfolder: tmp_path / namespace / subfolder
    )
    return tmp_path


def test_the_folder_that_pytorch_has_chosen_is_replaced(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", compile_cache.default_cache_dir())
    folder = use_compile_cache(CPU)
    assert folder is not None and folder.parent == assets / "compiled"


def test_the_folder_is_private_and_stays_the_same(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = use_compile_cache(CPU)
    assert folder is not None and folder.parent == assets / "compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    assert use_compile_cache(CPU) == folder
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    with monkeypatch.context() as another:
        another.setattr(torch, "__version__", "9.9.9")
        assert use_compile_cache(CPU) != folder
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "fewer instructions")
    assert use_compile_cache(CPU) != folder


def test_a_folder_that_the_user_names_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "own"))
    assert use_compile_cache(CPU) == tmp_path / "own" and not (tmp_path / "own").exists()


def test_a_folder_that_others_can_write_to_is_not_used(assets: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = use_compile_cache(CPU)
    assert folder is not None
    folder.chmod(0o777)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = ""
    with caplog.at_level(logging.WARNING):
        assert use_compile_cache(CPU) is None
    assert "others can write to it" in caplog.text and os.environ["TORCHINDUCTOR_CACHE_DIR"] == ""


def test_compiling_is_refused_in_one_line(tmp_path: Path) -> None:
    for words, message in (
        (("model", "--model", "other"), "Name the model once"),
        ((tmp_path / "none",), "none"),
        (("--num-samples", 0), "must be at least 1"),
    ):
        result = run("compile", *words)
        assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.compiler
def test_the_second_start_finds_the_step_compiled(tmp_path: Path) -> None:
    model = tmp_path / "model"
    tiny_pipeline().save_pretrained(model)
    environment = os.environ | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    command = [sys.executable, "-m", "hf_jukebox", "compile", str(model), "--levels", "2", "--device", "cpu"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert f"kept in {tmp_path / 'assets'}" in first.stdout

    def objects() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "assets").rglob("*.so")}

    compiled = objects()
    second = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert compiled and objects() == compiled  # nothing was compiled again
