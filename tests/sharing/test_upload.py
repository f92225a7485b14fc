"""Uploads to a Hub on loopback: everything that can be pushed is pulled again, and cards are true, kept and run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import cards, command_line
from helpers.loopback_hub import USER, LoopbackHub, hub_of_this_process
from helpers.refusals import refusal
from helpers.tiny import codes_in_s, tiny_pipeline
from helpers.tiny_adapters import write_random_adapter

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxRun, push_folder
from hf_jukebox.sharing.licences import NON_COMMERCIAL

# diffusers passes an argument that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
LENGTH = codes_in_s(16)
NAME = f"{USER}/tiny"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    with hub_of_this_process(tmp_path_factory.mktemp("cache")) as hub:
        yield hub


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior", min_duration=0.05)


def card_of(hub: LoopbackHub, name: str = NAME) -> str:
    return hub.repositories[name]["README.md"].decode()


def sampled(pipe: JukeboxPipeline) -> torch.Tensor:
    return pipe(audio_length_in_s=LENGTH, levels=(2,), generator=0, output_type="latent").codes[2]


def test_a_pipeline_is_pulled_as_it_was_pushed_and_its_card_runs(hub: LoopbackHub, pipe: JukeboxPipeline) -> None:
    pipe.push_to_hub("tiny", private=True, license="cc-by-4.0")
    assert hub.created[NAME].get("private", hub.created[NAME].get("visibility") == "private")
    fields = cards.front_matter(card_of(hub))
    assert (fields["library_name"], fields["license"]) == ("hf_jukebox", "cc-by-4.0")
    files = hub.repositories[NAME]
    assert {Path(name).suffix for name in files} <= {".json", ".safetensors", ".md"}
    names = cards.run_python(card_of(hub))
    assert torch.equal(sampled(names["pipe"]), sampled(pipe)) and Path("piece").is_dir()
    assert card_of(hub).index("from_pretrained") < card_of(hub).index("## ")


@pytest.mark.parametrize("part", ["prior_2", "prior_0", "vqvae", "tokenizer"])
def test_a_part_is_pulled_by_its_card(hub: LoopbackHub, pipe: JukeboxPipeline, part: str) -> None:
    name = f"{USER}/{part}"
    getattr(pipe, part).push_to_hub(name)
    cards.front_matter(card_of(hub, name))
    names = cards.run_python(card_of(hub, name))
    if part == "tokenizer":
        assert names["tokenizer"].vocabularies == pipe.tokenizer.vocabularies
        return
    loaded, pushed = names["model"].state_dict(), getattr(pipe, part).state_dict()
    assert all(torch.equal(loaded[key], pushed[key]) for key in pushed)


def test_save_pretrained_pushes_too(hub: LoopbackHub, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe.prior_1.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id="band/saved")
    assert "JukeboxPrior.from_pretrained" in card_of(hub, "band/saved")
    assert "More Information Needed" not in card_of(hub, "band/saved")


def test_an_edited_card_is_kept_and_its_metadata_completed(hub: LoopbackHub, pipe: JukeboxPipeline) -> None:
    pipe.vqvae.push_to_hub("edited")
    name = f"{USER}/edited"
    before = card_of(hub, name)
    pipe.vqvae.push_to_hub("edited", license="mit")
    assert cards.front_matter(card_of(hub, name))["license"] == "mit"  # nobody had edited it
    hub.repositories[name]["README.md"] = b"---\nlicense: cc0-1.0\ntags: [mine]\n---\n# Mine\n\nMy words.\n"
    pipe.vqvae.push_to_hub("edited", license="mit")
    after = card_of(hub, name)
    assert after.endswith("# Mine\n\nMy words.\n") and before not in after
    fields = cards.front_matter(after)
    assert (fields["license"], fields["tags"]) == ("cc0-1.0", ["mine"])
    assert fields["library_name"] == "hf_jukebox"


def test_the_non_commercial_notice_is_kept(hub: LoopbackHub, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    other = tiny_pipeline("tiny_labelled_prior")
    other.vqvae.config.weights_license = NON_COMMERCIAL
    other.save_pretrained(tmp_path / "converted")
    JukeboxPipeline.from_pretrained(tmp_path / "converted").push_to_hub("converted", license="mit")
    fields = cards.front_matter(card_of(hub, f"{USER}/converted"))
    assert (fields["license"], fields["license_name"]) == ("other", NON_COMMERCIAL)
    assert "for non-commercial purposes only" in card_of(hub, f"{USER}/converted")


def test_branches_and_pull_requests(hub: LoopbackHub, pipe: JukeboxPipeline) -> None:
    assert "/commit/" in pipe.vqvae.push_to_hub("branched", revision="try")
    assert "try" in hub.branches and hub.commits[-1][:2] == (f"{USER}/branched", "try")
    assert pipe.vqvae.push_to_hub("branched", create_pr=True).endswith("/discussions/1")


def test_a_broken_upload_sends_only_what_is_missing(hub: LoopbackHub, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    hub.keeps_large_files, hub.break_upload, hub.uploads = True, 3, 0
    try:
        message = refusal(lambda: push_folder(tmp_path / "model", "broken"), OSError)
        assert "what has arrived is not sent again" in message
        arrived, hub.break_upload, hub.uploads = len(hub.large), 0, 0
        assert arrived and not hub.repositories[f"{USER}/broken"]  # one commit, or none
        push_folder(tmp_path / "model", "broken")
    finally:
        hub.keeps_large_files = False
    weights = [name for name in hub.repositories[f"{USER}/broken"] if name.endswith(".safetensors")]
    assert len(weights) == 4 and hub.uploads == 4 - arrived


def test_an_adapter_is_pushed_with_what_it_is_for(hub: LoopbackHub, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe.prior_2.push_to_hub("base")
    base = JukeboxPrior.from_pretrained(f"{USER}/base")
    write_random_adapter(base, tmp_path / "kit", 0, ("kit", 2))
    assert command_line.run("push", tmp_path / "kit" / "adapter", "kit").exit_code == 0
    fields = cards.front_matter(card_of(hub, f"{USER}/kit"))
    assert (fields["base_model"], fields["base_model_relation"]) == (f"{USER}/base", "adapter")
    assert "| new artists | kit |" in card_of(hub, f"{USER}/kit")
    adapted = cards.run_python(card_of(hub, f"{USER}/kit"))["prior"]
    assert adapted.config.artists["kit"] == 2
    assert set(hub.repositories[f"{USER}/kit"]) == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "jukebox_adapter.json"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["dataset", "space"])
def test_a_run_is_pushed_plays_and_can_be_continued(
    hub: LoopbackHub, pipe: JukeboxPipeline, tmp_path: Path, kind: str
) -> None:
    pipe.save_pretrained(tmp_path / "model")
    same = JukeboxPipeline.from_pretrained(tmp_path / "model")
    out = same(audio_length_in_s=LENGTH, levels=(2,), generator=0, output_dir=tmp_path / "my run", artist="night bus")
    result = command_line.run("push", tmp_path / "my run", f"run-{kind}", "--type", kind, "--license", "cc-by-4.0")
    assert result.exit_code == 0, result.stderr
    name = f"{USER}/run-{kind}"
    files = hub.repositories[name]
    assert {"request.json", "index.html", "level_2/item_0.wav", "codes/level_2.safetensors"} <= set(files)
    assert not any(name.startswith((".", "state/")) for name in files)
    assert str(tmp_path).encode() not in b"".join(files.values())
    assert json.loads(files["request.json"])["steps"][0]["model"]["source"] == "model"
    fields = cards.front_matter(card_of(hub, name))
    assert fields["license"] == "cc-by-4.0" and (fields.get("sdk") == "static") == (kind == "space")
    player = f'src="{hub.url}/{kind}s/{name}/resolve/main/level_2/item_0.wav"'
    assert player in card_of(hub, name) and "artist night bus" in card_of(hub, name)
    run = cards.run_python(card_of(hub, name))["run"]
    assert isinstance(run, JukeboxRun) and torch.equal(run.codes[2], out.codes[2])


def test_what_cannot_be_pushed_is_refused_in_a_sentence(hub: LoopbackHub, tmp_path: Path) -> None:
    before = dict(hub.created)
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"model_type": "jukebox"}')
    for folder, message in (
        ("empty", "holds no pipeline, model, adapter, tokenizer or run"),
        ("old", "convert it first"),
        ("none", "There is no folder"),
    ):
        assert message in refusal(lambda folder=folder: push_folder(tmp_path / folder, "x"))  # type: ignore[misc]
    result = command_line.run("push", tmp_path / "empty", "x", "--type", "page")
    assert result.exit_code == 2 and "--type must be" in result.stderr
    assert hub.created == before
