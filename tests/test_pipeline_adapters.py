"""Adapters on a pipeline: by diffusers' names, on every prior, with names of their own, and recorded by runs."""

import copy
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import command_line
from helpers.loopback_hub import USER, loopback_hub
from helpers.refusals import refusal
from helpers.tiny import codes_in_s, tiny_pipeline
from helpers.tiny_adapters import write_random_adapter

from hf_jukebox import JukeboxPipeline, JukeboxPrior
from hf_jukebox.runs.command_lines import run_commands
from hf_jukebox.runs.folder import JukeboxRun

LENGTH = codes_in_s(16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, `model`, and adapters: `a` and `b` of its top prior, which took the same row, `low` of prior 1."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny_pipeline("tiny_labelled_prior").save_pretrained(folder / "model")
    for seed, (name, prior, artist) in enumerate(
        [("a", "prior_2", ("kit a", 2)), ("b", "prior_2", ("kit b", 2)), ("low", "prior_1", None)]
    ):
        write_random_adapter(JukeboxPrior.from_pretrained(folder / "model" / prior), folder / name, seed, artist)
    return folder


def load(folder: Path, **options: object) -> JukeboxPipeline:
    pipe = JukeboxPipeline.from_pretrained(folder / "model", **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sampled(pipe: JukeboxPipeline, level: int = 2, artist: str = "the lanterns") -> torch.Tensor:
    """Return the codes `[1, T]` of a level, sampled greedily; those of the levels below the top from given codes."""
    labels = {"artist": artist, "genre": "rock"} if level == 2 else {}
    given = None if level == 2 else [None, None, torch.arange(16)[None] % 7]
    out = pipe(codes=given, levels=range(2, level - 1, -1) if given is None else range(1, level - 1, -1), top_k=1,
               audio_length_in_s=LENGTH, output_type="latent", **labels)  # fmt: skip
    return out.codes[level]


def merged(folder: Path, name: str, level: int = 2) -> JukeboxPipeline:
    pipe = load(folder)
    pipe.register_modules(**{f"prior_{level}": JukeboxPrior.from_pretrained(folder / name)})
    return pipe


def test_an_adapter_samples_like_the_merged_prior_and_brings_its_names(folder: Path) -> None:
    pipe = load(folder)
    before, weights = sampled(pipe), pipe.prior_2.state_dict()
    weights = {name: weight.clone() for name, weight in weights.items()}
    pipe.load_lora_weights(folder / "a", "kit")
    assert pipe.get_list_adapters() == {"prior_2": {"kit": 1.0}} and pipe.get_active_adapters() == ["kit"]
    artists = {"the lanterns", "kit a", "unknown"}
    assert set(pipe.tokenizer.artists(2)) == artists == set(pipe.prior_2.config.artists)
    expected = sampled(merged(folder, "a"), artist="kit a")
    assert torch.equal(sampled(pipe, artist="kit a"), expected) and not torch.equal(expected, before)
    pipe.set_adapters("kit", 0.0)
    assert torch.equal(sampled(pipe), before) and "kit a" not in pipe.tokenizer.artists(2)
    pipe.unload_lora_weights()
    assert "night bus" in pipe.tokenizer.artists(2) and not pipe.get_list_adapters()
    after = pipe.prior_2.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[name], weights[name]) for name in weights)


def test_adapters_that_took_the_same_row_keep_their_names_apart(folder: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "a", scale=0.0)
    pipe.load_lora_weights(folder / "b", "b")
    assert pipe.prior_2.config.artists == {"unknown": 0, "the lanterns": 1, "night bus": 2, "kit b": 3}
    assert torch.equal(sampled(pipe, artist="kit b"), sampled(merged(folder, "b"), artist="kit b"))
    pipe.set_adapters(["a", "b"], [1.0, 0.5])
    assert pipe.prior_2.config.artists == {"unknown": 0, "the lanterns": 1, "kit a": 2, "kit b": 3}
    table = pipe.prior_2.label_embedding.artist.weight
    base, a, b = (
        JukeboxPrior.from_pretrained(folder / name).label_embedding.artist.weight
        for name in ("model/prior_2", "a", "b")
    )
    torch.testing.assert_close(table[:2], (a + 0.5 * (b - base))[:2])
    torch.testing.assert_close(table[2], a[2])
    torch.testing.assert_close(table[3], (base + 0.5 * (b - base))[2])
    pipe.fuse_lora()
    assert set(pipe.tokenizer.artists(2)) == {"unknown", "the lanterns", "kit a", "kit b"}
    pipe.prior_2.save_pretrained(folder / "fused")
    assert JukeboxPrior.from_pretrained(folder / "fused").config.num_artists == 4


def test_an_adapter_finds_its_prior_by_its_level(folder: Path, tmp_path: Path) -> None:
    pipe = load(folder)
    before = sampled(pipe, 1)
    pipe.load_lora_weights(folder / "low", "low")
    pipe.load_lora_weights(folder / "a", "low")  # one name on two priors
    assert pipe.get_list_adapters() == {"prior_2": {"low": 1.0}, "prior_1": {"low": 1.0}}
    assert torch.equal(sampled(pipe, 1), sampled(merged(folder, "low", 1), 1))
    assert not torch.equal(sampled(pipe, 1), before)
    pipe.unload_lora_weights()
    shutil.copytree(folder / "low" / "adapter", tmp_path / "unnamed")
    (tmp_path / "unnamed" / "jukebox_adapter.json").unlink()  # as from peft alone
    assert "fits the priors of levels 0, 1, 2; choose one with `level`" in refusal(
        lambda: pipe.load_lora_weights(tmp_path / "unnamed")
    )
    pipe.load_lora_weights(tmp_path / "unnamed", level=0)
    assert pipe.get_list_adapters() == {"prior_0": {"default_0": 1.0}}


def test_wrong_adapters_and_names_change_nothing(folder: Path, tmp_path: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "a")
    before, adapters = sampled(pipe), pipe.get_list_adapters()
    shutil.copytree(folder / "b" / "adapter", tmp_path / "b")
    (tmp_path / "b" / "jukebox_adapter.json").write_text(json.dumps({"level": 0}))
    wrong = {
        "trained on another prior": lambda: pipe.load_lora_weights(tmp_path / "b", "b"),
        "There is an adapter 'a' already": lambda: pipe.load_lora_weights(folder / "b", "a"),
        "There is no adapter 'c'; there are: a": lambda: pipe.set_adapters(["a", "c"], [0.1, 0.2]),
        "1 adapters but 2 strengths": lambda: pipe.set_adapters("a", [0.1, 0.2]),
        "There is no adapter 'd'": lambda: pipe.delete_adapters(["a", "d"]),
        "There is no adapter 'e'": lambda: pipe.fuse_lora(adapter_names="e"),
        "There is no adapter in": lambda: pipe.load_lora_weights(tmp_path),
        "cannot be saved; merge them": lambda: pipe.save_pretrained(tmp_path / "saved"),
    }
    for message, do in wrong.items():
        assert message in refusal(do)
        assert pipe.get_list_adapters() == adapters
    (tmp_path / "b" / "jukebox_adapter.json").write_text(json.dumps({"level": 2, "artists": {"x": 99}}))
    assert "artists must hold a row" in refusal(lambda: pipe.load_lora_weights(tmp_path / "b", "b"))
    assert torch.equal(sampled(pipe), before)


def test_pipelines_on_disk_offloaded_and_copied_sample_the_same_with_adapters(folder: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "a", scale=0.5)
    pipe.load_lora_weights(folder / "b", "b")
    pipe.load_lora_weights(folder / "low", "low")
    top, lower = sampled(pipe, artist="kit b"), sampled(pipe, 1)
    assert torch.equal(sampled(copy.deepcopy(pipe), artist="kit b"), top)
    low = load(folder, low_memory=True)
    plain = sampled(low)
    low.load_lora_weights(folder / "a", "a", scale=0.5)
    low.load_lora_weights(folder / "b", "b")
    low.load_lora_weights(folder / "low", "low")
    assert low.model_record().adapters == pipe.model_record().adapters
    assert low.model_record().parts == pipe.model_record().parts
    for _ in range(2):  # read from disk each time
        assert torch.equal(sampled(low, artist="kit b"), top) and torch.equal(sampled(low, 1), lower)
    assert "load it without `low_memory`" in refusal(low.fuse_lora)
    low.unload_lora_weights()
    assert torch.equal(sampled(low), plain)


def test_layers_that_are_offloaded_one_by_one_take_adapters_before(folder: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "a")
    top = sampled(pipe, artist="kit a")
    pipe.remove_all_hooks()
    for prior in pipe.priors:
        prior.to("meta")
    assert "before `enable_sequential_cpu_offload()`" in refusal(lambda: pipe.set_adapters("a", 0.5))
    assert top.shape == (1, 16)


def test_adapters_come_from_the_hub_its_subfolders_and_its_cache(folder: Path, tmp_path: Path, monkeypatch) -> None:
    with loopback_hub() as hub:
        for name in ("a", "b"):
            files = {str(path.relative_to(folder / name)): path.read_bytes() for path in (folder / name).rglob("*.*")}
            hub.repositories[f"{USER}/kits"] = hub.repositories.get(f"{USER}/kits", {}) | {
                f"{name}/{path.removeprefix('adapter/')}": content
                for path, content in files.items()
                if path.startswith("adapter/")
            }
        pipe = load(folder)
        place = {"endpoint": hub.url, "cache_dir": tmp_path}
        pipe.load_lora_weights(f"{USER}/kits", "a", subfolder="a", **place)
        pipe.load_lora_weights(f"{USER}/kits/b", "b", scale=0.5, **place)
        first, second = pipe.model_record().adapters
        assert (first.source, first.subfolder, first.revision) == (f"{USER}/kits", "a", "0" * 40)
        assert (second.subfolder, second.scale) == ("b", 0.5)
    local = load(folder)
    local.load_lora_weights(folder / "a", "a")
    local.load_lora_weights(folder / "b", "b", scale=0.5)
    assert torch.equal(sampled(pipe, artist="kit b"), sampled(local, artist="kit b"))


def test_adapters_are_switched_off_and_on_again(folder: Path) -> None:
    pipe = load(folder)
    plain = sampled(pipe)
    pipe.load_lora_weights(folder / "a", "kit", scale=0.7)
    pipe.load_lora_weights(folder / "low", "low")
    with_adapters, strengths = sampled(pipe), pipe.get_list_adapters()
    pipe.disable_lora()
    assert pipe.get_active_adapters() == [] and torch.equal(sampled(pipe), plain)
    pipe.disable_lora()
    pipe.enable_lora()
    assert pipe.get_list_adapters() == strengths and torch.equal(sampled(pipe), with_adapters)
    pipe.disable_lora()
    pipe.set_adapters("low")
    pipe.enable_lora()  # nothing is switched off any more
    assert pipe.get_active_adapters() == ["low"]


def test_strengths_are_finite_numbers_one_per_adapter(folder: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "kit", scale=0.5)
    before = pipe.get_list_adapters()
    for wrong in (math.nan, math.inf, "1", [None], {"kit": 1.0}):
        assert "must be a finite number" in refusal(lambda wrong=wrong: pipe.set_adapters("kit", wrong))
        assert "must be a finite number" in refusal(lambda: pipe.load_lora_weights(folder / "low", scale=math.nan))
    assert "named twice" in refusal(lambda: pipe.set_adapters(["kit", "kit"], [1.0, 0.5]))
    assert pipe.get_list_adapters() == before
    pipe.set_adapters(["kit"], np.array([0.25]))
    assert pipe.get_list_adapters() == {"prior_2": {"kit": 0.25}}


@pytest.mark.compiler
def test_a_compiled_pipeline_samples_the_same_and_follows_changes(folder: Path) -> None:
    pipe, compiled = load(folder), load(folder)
    compiled.compile()
    for change in (
        lambda each: each.load_lora_weights(folder / "a", "a"),
        lambda each: each.set_adapters("a", 0.5),
        lambda each: each.unload_lora_weights(),
    ):
        for each in (pipe, compiled):
            change(each)
        assert torch.equal(sampled(compiled), sampled(pipe))


def test_a_run_records_its_adapters_and_is_resumed_with_them(folder: Path, tmp_path: Path) -> None:
    whole, pipe = load(folder), load(folder)
    options = {"audio_length_in_s": LENGTH, "levels": (2,), "generator": 1, "artist": "kit b", "genre": "rock"}
    for each in (whole, pipe):
        each.load_lora_weights(folder / "a", "a", scale=0.5)
        each.load_lora_weights(folder / "b", "b")
    expected = whole(**options, output_type="latent").codes[2]
    run = tmp_path / "run"
    pipe(**options, output_dir=run, callback=lambda progress: progress.filled < 7)
    recorded = JukeboxRun.open(run).step.model.adapters
    assert [(each.name, each.scale, each.level) for each in recorded] == [("a", 0.5, 2), ("b", 1.0, 2)]
    other = load(folder)
    assert "was sampled with the adapters" in refusal(lambda: other.resume_run(run))
    other.load_run_adapters(run)
    assert other.model_record() == pipe.model_record()
    assert torch.equal(other.resume_run(run, output_type="latent").codes[2], expected)
    shutil.copytree(folder / "a", tmp_path / "moved")
    request = json.loads((run / "request.json").read_text())
    request["steps"][0]["model"]["adapters"][0]["source"] = str(tmp_path / "none")
    (run / "request.json").write_text(json.dumps(request))
    again = load(folder)
    assert "--lora" in refusal(lambda: again.load_run_adapters(run)) and not again.get_list_adapters()


def test_merged_adapters_are_recorded_and_merged_again(folder: Path, tmp_path: Path) -> None:
    pipe = load(folder)
    pipe.load_lora_weights(folder / "a", "a")
    pipe.fuse_lora(0.5)
    pipe.load_lora_weights(folder / "low", "low", scale=2.0)
    options = {"audio_length_in_s": LENGTH, "levels": (2,), "output_type": "latent", "generator": 0}
    out = pipe(**options, output_dir=tmp_path / "run", callback=lambda progress: progress.filled < 7)
    assert out.codes[2].shape[1] < 16
    other = load(folder)
    other.load_run_adapters(tmp_path / "run")
    assert other.get_list_adapters() == {"prior_1": {"low": 2.0}}
    codes = other.resume_run(tmp_path / "run", output_type="latent").codes[2]
    assert torch.equal(codes, pipe(**options).codes[2])


def test_the_command_line_loads_adapters_and_resumes_with_them(folder: Path, tmp_path: Path) -> None:
    words = ["--model", folder / "model", "--device", "cpu", "-q"]
    lora = ["--lora", folder / "a", "--lora", f"{folder / 'b'}:0.5"]
    made = ["sample", "--seconds", LENGTH, "--levels", 2, "--artist", "kit b", "--seed", 0, "-o", tmp_path / "run"]
    assert command_line.run(*made, *lora, *words).exit_code == 0
    record = JukeboxRun.open(tmp_path / "run").step.model
    assert [each.scale for each in record.adapters] == [1.0, 0.5]
    longer = ["continue", tmp_path / "run", "--seconds", 2 * LENGTH, *words]
    assert command_line.run(*longer).exit_code == 0
    assert JukeboxRun.open(tmp_path / "run").step.model.adapters == record.adapters
    result = command_line.run("continue", tmp_path / "run", "--seconds", 3 * LENGTH, "--lora", folder / "b", *words)
    assert result.exit_code == 0
    assert [each.scale for each in JukeboxRun.open(tmp_path / "run").step.model.adapters] == [1.0]
    first, second, third = run_commands(JukeboxRun.open(tmp_path / "run"))
    assert f"--lora {folder / 'a' / 'adapter'}:1 --lora {folder / 'b' / 'adapter'}:0.5" in first
    assert "--lora" not in second and f"--lora {folder / 'b' / 'adapter'}:1" in third


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ("me/kit:loud", "a number after a colon"),
        (":1", "a number after a colon"),
        ("/none/there:0.5", "There is no folder /none/there"),
        ("me/kit:nan", "a number after a colon"),
    ],
)
def test_a_wrong_option_is_refused_before_a_model_is_loaded(tmp_path: Path, lora: str, message: str) -> None:
    result = command_line.run("sample", "--lora", lora, "--model", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2 and message in result.stderr.replace("\n", " ")
