"""Assembly of separately trained models: parts that fit become a pipeline, others are rejected."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cards import front_matter
from helpers.loopback_hub import loopback_hub
from helpers.refusals import refusal_to_write
from helpers.tiny import NAMES, tiny_prior, tiny_vqvae
from huggingface_hub import hf_hub_download, snapshot_download

from hf_jukebox import JukeboxPipeline, JukeboxPrior
from hf_jukebox.convert import assemble, model_sources
from hf_jukebox.convert.parts import TOP_PRIOR, find_part
from hf_jukebox.loading import sources

TWO_LEVELS: dict[str, Any] = {"downs_t": [3, 2], "strides_t": [2, 2], "multipliers": [1, 1]}
TOP_OF_TWO: dict[str, Any] = {"level": 1, "hop_length": 32}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return models, each in a folder as training leaves it."""
    folder = tmp_path_factory.mktemp("parts")
    models = {
        "vqvae": tiny_vqvae(),
        "bottom": tiny_prior("tiny_upsampler"),
        "middle": tiny_middle(),
        "top": tiny_prior("tiny_labelled_prior", **NAMES),
        "vqvae_of_two": tiny_vqvae(**TWO_LEVELS),
        "top_of_two": tiny_prior("tiny_prior", **TOP_OF_TWO),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
    (folder / "top" / "checkpoint-100").mkdir()
    (folder / "top" / "optimizer.bin").write_bytes(b"large")
    return folder


def tiny_middle() -> JukeboxPrior:
    return tiny_prior("tiny_upsampler", level=1, hop_length=32)


def refusal(output: Path, vqvae: Path, priors: list[Path], error: type[Exception] = ValueError) -> str:
    """Return the one sentence of the error, and check that nothing is left behind."""
    return refusal_to_write(output.parent, lambda: assemble(vqvae, priors, output), error)


def three(parts: Path, **changes: Path) -> list[Path]:
    return list(({name: parts / name for name in ("bottom", "middle", "top")} | changes).values())


def same_weights(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    tensors, others = model.state_dict(), other.state_dict()
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_the_non_commercial_notice_of_a_part_is_that_of_the_pipeline(parts: Path, tmp_path: Path):
    shutil.copytree(parts / "top", tmp_path / "top")
    settings = json.loads((tmp_path / "top" / "config.json").read_text())
    (tmp_path / "top" / "config.json").write_text(json.dumps(settings | {"weights_license": "jukebox-noncommercial"}))
    assemble(parts / "vqvae", three(parts, top=tmp_path / "top"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "for non-commercial purposes only" in card
    assert front_matter(card)["license_name"] == "jukebox-noncommercial"


def test_three_levels_are_assembled(parts: Path, tmp_path: Path):
    assemble(parts / "vqvae", three(parts), tmp_path / "out")
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    assert same_weights(pipe.vqvae, tiny_vqvae()) and same_weights(pipe.prior_0, tiny_prior("tiny_upsampler"))
    assert pipe.tokenizer.artists(2) == ["night bus", "the lanterns", "unknown"]
    assert {path.name for path in (tmp_path / "out" / "prior_2").iterdir()} == {"config.json", "model.safetensors"}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "level 2: top" in card and str(parts) not in card


def test_two_levels_without_labels_are_assembled(parts: Path, tmp_path: Path):
    assemble(parts / "vqvae_of_two", [parts / "bottom", parts / "top_of_two"], tmp_path / "out")
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    assert len(pipe.priors) == 2 and pipe.prior_2 is None and pipe.tokenizer is None
    assert pipe(audio_length_in_s=0.05, output_type="pt").audios.shape[0] == 1


def test_parts_of_a_pipeline_and_sharded_models_are_assembled(parts: Path, tmp_path: Path):
    assemble(parts / "vqvae", three(parts), tmp_path / "first")
    other_top = tiny_prior("tiny_prior", seed=5)
    other_top.save_pretrained(tmp_path / "other_top", max_shard_size="20KB")
    assert (tmp_path / "other_top" / "model.safetensors.index.json").exists()
    first = tmp_path / "first"
    assemble(first, [first, first, tmp_path / "other_top"], tmp_path / "out")
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    assert same_weights(pipe.prior_1, tiny_middle())
    assert same_weights(pipe.prior_2, other_top) and pipe.tokenizer is None


def test_parts_of_the_hub_are_assembled(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assemble(parts / "vqvae", three(parts), tmp_path / "whole")
    with loopback_hub() as hub:
        place: dict[str, Any] = {"endpoint": hub.url, "cache_dir": tmp_path / "hub"}
        monkeypatch.setattr(model_sources, "snapshot_download", partial(snapshot_download, **place))
        monkeypatch.setattr(sources, "hf_hub_download", partial(hf_hub_download, **place))
        hub.add("me/top", parts / "top")
        hub.add("me/whole", tmp_path / "whole")
        assemble("me/whole", ["me/whole", "me/whole/prior_1", "me/top"], tmp_path / "out")
        assert not {path for path in hub.read if path.startswith(("prior_2", "optimizer", "checkpoint"))}
        with pytest.raises(ValueError, match="has no prior_4; its parts are prior_0, prior_1, prior_2"):
            find_part("me/whole", "prior_4")
        assert find_part("me/whole", TOP_PRIOR) == ("me/whole", "prior_2") and find_part("me/top", "x") == (
            "me/top",
            "",
        )
    assert "level 2: me/top" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert same_weights(JukeboxPipeline.from_pretrained(tmp_path / "out").prior_1, tiny_middle())


def test_the_number_and_order_of_priors_are_checked(parts: Path, tmp_path: Path):
    out, vqvae = tmp_path / "out", parts / "vqvae"
    bottom, middle, top = three(parts)
    assert "3 levels" in refusal(out, vqvae, [bottom, middle])
    assert "3 levels" in refusal(out, vqvae, [bottom, middle, top, top])
    assert "finest" in refusal(out, vqvae, [middle, bottom, top])
    assert "finest" in refusal(out, vqvae, [top, middle, bottom])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"codebook_size": 128}, "codebook_size"),
        ({"sampling_rate": 44100}, "sampling_rate"),
        ({"hop_length": 16}, "hop_length"),
        ({"upsampling_strides": [2, 2, 2]}, "upsampling_ratio"),
    ],
)
def test_priors_of_another_vqvae_are_rejected(parts: Path, tmp_path: Path, changes: dict[str, Any], word: str):
    tiny_prior("tiny_upsampler", **({"level": 1, "hop_length": 32} | changes)).save_pretrained(tmp_path / "middle")
    message = refusal(tmp_path / "out", parts / "vqvae", three(parts, middle=tmp_path / "middle"))
    assert word in message and "level 1" in message


def test_labels_without_names_are_rejected(parts: Path, tmp_path: Path):
    tiny_prior("tiny_labelled_prior").save_pretrained(tmp_path / "top")
    message = refusal(tmp_path / "out", parts / "vqvae", three(parts, top=tmp_path / "top"))
    assert "artists and genres" in message


def test_other_models_are_rejected(parts: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert "jukebox_vqvae is needed" in refusal(out, parts / "top", three(parts))
    assert "jukebox_prior is needed" in refusal(out, parts / "vqvae", three(parts, top=parts / "vqvae"))
    assert "config.json" in refusal(out, parts, three(parts), FileNotFoundError)
    assert "There is no folder" in refusal(out, tmp_path / "nothing", three(parts), OSError)


def test_missing_or_truncated_weights_are_reported(parts: Path, tmp_path: Path):
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "config.json").write_bytes((parts / "top" / "config.json").read_bytes())
    priors = three(parts, top=tmp_path / "top")
    assert "model.safetensors" in refusal(tmp_path / "out", parts / "vqvae", priors, FileNotFoundError)
    weights = (parts / "top" / "model.safetensors").read_bytes()
    (tmp_path / "top" / "model.safetensors").write_bytes(weights[:-1])
    assert "cut short" in refusal(tmp_path / "out", parts / "vqvae", priors, OSError)


def test_the_output_folder_must_be_new(parts: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "song.wav").write_bytes(b"")
    assert "not empty" in refusal(tmp_path / "mine", parts / "vqvae", three(parts), FileExistsError)
