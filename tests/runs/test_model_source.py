"""A run finds its model again from another folder or machine, and downloads nothing that the user has not named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import codes_in_s, tiny_pipeline
from typer.testing import CliRunner, Result

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxRun
from hf_jukebox.cli import app
from hf_jukebox.runs import model_source
from hf_jukebox.runs.model_source import model_of_run, recorded_source

pytestmark = pytest.mark.usefixtures("no_fsync")

ELSEWHERE = "/usr/lib/elsewhere/hf_jukebox/demo/model"
WINDOWS = r"C:\Users\me\venv\Lib\site-packages\hf_jukebox\demo\model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "m20"
    tiny_pipeline().save_pretrained(folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def begin(folder: Path, model: str | Path) -> Path:
    """Sample a run with a model, named as in the command, and return its folder."""
    result = run("sample", "-o", folder, "--model", model, "--levels", 2, "--seconds", codes_in_s(3), "--quiet")
    assert result.exit_code == 0, result.output
    return folder


def with_source(folder: Path, source: str | None, **parts: str) -> Path:
    path = folder / "request.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for step in content["steps"]:
        step["model"]["source"] = source
        step["model"]["parts"] |= parts
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def source_of(folder: Path) -> Any:
    return json.loads((folder / "request.json").read_text(encoding="utf-8"))["steps"][-1]["model"]["source"]


def continue_run(folder: Path, *options: object) -> Result:
    return run("continue", folder, "--seconds", codes_in_s(5), "--quiet", "--device", "cpu", *options)


def test_a_relative_model_is_found_from_another_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    folder = begin(tmp_path / "run", model.name)
    assert source_of(folder) == str(model)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert continue_run(folder).exit_code == 0


def test_a_relative_model_of_an_older_version_is_looked_for_beside_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_source(begin(tmp_path / "run", model), "m20")
    shutil.copytree(model, tmp_path / "m20")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert model_of_run(JukeboxRun.open(folder)) == str(tmp_path / "m20")
    assert continue_run(folder).exit_code == 0


def test_the_error_for_a_moved_model_names_the_option(model: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(model, tmp_path / "moved")
    folder = begin(tmp_path / "run", moved)
    moved.rename(tmp_path / "moved-again")
    result = continue_run(folder)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert f"a model in {moved}, which is not there; name it with --model" in result.stderr
    assert continue_run(folder, "--model", tmp_path / "moved-again").exit_code == 0
    assert source_of(folder) == str(tmp_path / "moved-again")


@pytest.mark.parametrize("source", [ELSEWHERE, WINDOWS, "hf_jukebox/demo/model"])
def test_the_demo_model_of_another_environment_is_found(model: Path, tmp_path: Path, source: str) -> None:
    folder = with_source(begin(tmp_path / "run", model), source)
    assert model_of_run(JukeboxRun.open(folder)) == DEMO_MODEL


@pytest.mark.parametrize("source", ["/gone/m20", None])
def test_the_demo_is_recognised_by_its_weights(model: Path, tmp_path: Path, source: str | None) -> None:
    folder = with_source(begin(tmp_path / "run", model), source, **model_source.demo_fingerprints())
    assert model_of_run(JukeboxRun.open(folder)) == DEMO_MODEL


def test_the_demo_is_recorded_by_a_mark_instead_of_a_path(tmp_path: Path) -> None:
    pipe = JukeboxPipeline.from_pretrained(DEMO_MODEL)
    pipe(levels=2, audio_length_in_s=0.1, output_dir=tmp_path, output_type="latent")
    assert source_of(tmp_path) == "the demo model"
    assert model_of_run(JukeboxRun.open(tmp_path)) == DEMO_MODEL
    assert "the demo model" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_pipeline_assembled_in_python_has_no_source(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe(levels=2, audio_length_in_s=codes_in_s(3), output_dir=tmp_path, output_type="latent")
    assert source_of(tmp_path) is None
    with pytest.raises(ValueError, match="does not say where its model is; name it with --model"):
        model_of_run(JukeboxRun.open(tmp_path))


def put_into_cache(model: Path, cache: Path) -> Path:
    """Put a repository into the cache of the Hub, as a download does."""
    repository = cache / "models--me--x"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    return shutil.copytree(model, repository / "snapshots" / ("a" * 40))


def test_a_model_of_the_hub_is_not_downloaded_unless_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_source(begin(tmp_path / "run", model), "me/x")

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.repo_info", asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    result = continue_run(folder)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "name the model with --model: a folder or, to load it from the Hub, me/x" in result.stderr


def test_a_model_of_the_hub_is_loaded_from_the_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_source(begin(tmp_path / "run", model), "me/x")
    snapshot = put_into_cache(model, tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_source, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert model_of_run(JukeboxRun.open(folder)) == str(snapshot)
    assert continue_run(folder).exit_code == 0
    assert source_of(folder) == "me/x" == recorded_source("me/x")


@pytest.mark.parametrize("source", [r"\\server\share\model", "//server/share/model", "x" * 400, "../" * 300, "a\0b"])
def test_odd_sources_are_refused_in_one_sentence(model: Path, tmp_path: Path, source: str) -> None:
    folder = with_source(begin(tmp_path / "run", model), source)
    with pytest.raises(ValueError, match="name it with --model") as error:
        model_of_run(JukeboxRun.open(folder))
    assert "\n" not in str(error.value)
