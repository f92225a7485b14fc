"""Sources without a model of the requested kind: each is one sentence with a remedy, before weights are read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import refusals
from helpers.tiny import tiny_pipeline

from hf_jukebox import DEMO_MODEL, JukeboxPipeline, JukeboxPrior, JukeboxTokenizer, JukeboxVQVAE

OLD = Path(__file__).parents[1] / "fixtures/golden/transformers"
CHECKPOINT = Path(__file__).parents[1] / "fixtures/golden/openai/vqvae.pth.tar"
Load = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    tiny_pipeline().save_pretrained(folder)
    return folder


def refusal(load: Load, place: object) -> str:
    return refusals.refusal(lambda: load(place), OSError)  # type: ignore[arg-type]


LOADERS: list[Load] = [JukeboxPipeline.from_pretrained, JukeboxPrior.from_pretrained, JukeboxVQVAE.from_pretrained]


@pytest.mark.parametrize("load", LOADERS)
def test_errors_for_other_layouts_name_the_command_to_convert_them(load: Load, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((OLD / "config.json").read_text())  # without weights: they are not looked at
    if load != JukeboxPipeline.from_pretrained:  # which converts it
        assert f"hf-jukebox convert transformers {tmp_path} --output DIR" in refusal(load, tmp_path)
    assert "hf-jukebox convert openai --vqvae" in refusal(load, CHECKPOINT)
    (tmp_path / "originals").mkdir()
    (tmp_path / "originals" / "vqvae.pth.tar").touch()
    assert "hf-jukebox convert openai --vqvae" in refusal(load, tmp_path / "originals")


def test_a_part_is_not_loaded_as_a_pipeline_nor_the_reverse(whole: Path) -> None:
    assert "JukeboxPrior.from_pretrained, or" in refusal(JukeboxPipeline.from_pretrained, whole / "prior_1")
    assert "hf-jukebox assemble" in refusal(JukeboxPipeline.from_pretrained, whole / "vqvae")
    assert "subfolder='prior_2'" in refusal(JukeboxPrior.from_pretrained, whole)
    assert "subfolder='vqvae'" in refusal(JukeboxVQVAE.from_pretrained, whole)
    assert "holds a JukeboxVQVAE, not a JukeboxPrior" in refusal(JukeboxPrior.from_pretrained, whole / "vqvae")
    assert "holds a JukeboxPrior, not a JukeboxVQVAE" in refusal(JukeboxVQVAE.from_pretrained, whole / "prior_0")


def test_a_tokenizer_that_is_not_there_is_named_as_a_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = JukeboxTokenizer.from_pretrained
    assert "subfolder='tokenizer'" in refusal(load, DEMO_MODEL)
    assert "There is no folder /no/such/folder" in refusal(load, "/no/such/folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the Hub cannot be reached" in refusal(load, "me/absent")


def test_a_home_folder_is_expanded_where_parts_are_saved(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    JukeboxPrior.from_pretrained(whole, subfolder="prior_2").save_pretrained("~/prior")
    JukeboxTokenizer.from_pretrained(DEMO_MODEL, subfolder="tokenizer").save_pretrained("~/tokenizer")
    assert JukeboxPrior.from_pretrained("~/prior").config.level == 2
    assert JukeboxTokenizer.from_pretrained("~/tokenizer").vocabularies
    assert list(here.iterdir()) == [] and sorted(path.name for path in home.iterdir()) == ["prior", "tokenizer"]


def test_models_load_in_several_threads(whole: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        priors = list(threads.map(lambda _: JukeboxPrior.from_pretrained(whole, subfolder="prior_2"), range(8)))
    assert all(prior.head.weight is prior.token_embedding.weight for prior in priors)  # tied
    JukeboxPrior.from_pretrained(whole, subfolder="prior_2")


@pytest.mark.parametrize("load", LOADERS)
def test_sources_without_a_model_are_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("la la")
    assert "save_pretrained" in refusal(load, tmp_path)
    assert "is a file" in refusal(load, tmp_path / "notes.txt")
    for missing in (tmp_path / "none", str(tmp_path / "none"), "./none", "some/folder/none", "~/none", "..\\none"):
        assert "There is no folder" in refusal(load, missing)
    assert "nor the name of a Hub repository" in refusal(load, "a name, with commas")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "save_pretrained" in refusal(load, tmp_path) or "type 'bert'" in refusal(load, tmp_path)
    name = "model_index.json" if load == JukeboxPipeline.from_pretrained else "config.json"
    for content in ("{", "[1]", "\x00"):
        (tmp_path / name).write_text(content)
        assert f"{name} " in refusal(load, tmp_path)


def test_a_pipeline_without_a_part_is_refused_unless_the_part_is_given(whole: Path, tmp_path: Path) -> None:
    for path in whole.rglob("*.json"):
        if "prior_1" not in path.parts:
            (tmp_path / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(whole)).write_bytes(path.read_bytes())
    for options in ({}, {"low_memory": True}):
        with pytest.raises(OSError, match="is incomplete: prior_1 missing"):
            JukeboxPipeline.from_pretrained(tmp_path, **options)
    for path in whole.rglob("*.safetensors"):
        if "prior_1" not in path.parts:
            (tmp_path / path.relative_to(whole)).write_bytes(path.read_bytes())
    assert JukeboxPipeline.from_pretrained(tmp_path, prior_1=None).prior_0 is not None


def test_another_pipeline_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "holds a StableDiffusionPipeline" in refusal(JukeboxPipeline.from_pretrained, tmp_path)


def test_models_on_the_hub(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "originals").mkdir()
    (tmp_path / "originals" / "vqvae.pth.tar").touch()
    repositories = {"me/whole": whole, "me/single": whole / "prior_0", "me/old": OLD}
    repositories |= {"me/originals": tmp_path / "originals", "me/secret": whole, "me/labelled": Path(DEMO_MODEL)}
    lines = json.dumps([{"name": name, "folder": str(folder)} for name, folder in repositories.items()])
    script = Path(__file__).parents[1] / "helpers" / "models_on_a_hub.py"
    command = [sys.executable, str(script), lines, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parents[1]), *sys.path])}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    content = json.loads(result.stdout.splitlines()[-1])
    messages = content["messages"]
    assert set(content["read"]) <= {"config.json", "model_index.json"}  # no weights, nor anything else
    for name in ("old prior", "old vqvae"):
        assert "convert it once with: hf-jukebox convert transformers me/old --output DIR" in messages[name]
    assert "load it with JukeboxPrior.from_pretrained, or" in messages["single"]
    assert "subfolder='prior_2'" in messages["whole as prior"]
    for name in ("originals", "originals as prior"):
        assert "download them with: hf download me/originals, and convert them: hf-jukebox convert" in messages[name]
    assert "or it is private; check the name, or log in with: hf auth login" in messages["secret, no token"]
    assert messages["secret"] == "loaded a JukeboxPipeline"
    for name in ("other revision", "prior of other revision"):
        assert "has no revision 'v9'" in messages[name]
    for name in ("no such", "no such prior"):
        assert "neither a folder nor a Hub repository me/none" in messages[name]
    assert "is incomplete: prior_0, prior_1, prior_2, vqvae missing" in messages["not cached"]
    for name in ("unreachable", "unreachable prior"):
        assert "the Hub cannot be reached" in messages[name]
    assert messages["whole"] == messages["cached"] == "loaded a JukeboxPipeline"
    assert messages["low memory"] == "me/whole"
    assert messages.pop("generic") == {
        "pipeline": "loaded a JukeboxPipeline",
        "model": "loaded a JukeboxPrior",
        "part": "loaded a JukeboxVQVAE",
        "tokenizer": "loaded a JukeboxTokenizer",
        "config": "loaded a JukeboxPriorConfig",
        "diffusers' model": "loaded a JukeboxPrior",
    }
    assert messages["part"] == messages["cached part"] == "loaded a JukeboxPrior"
    assert not [message for message in messages.values() if "\n" in message]
