"""Priors of somebody else in a pipeline: their names come along, and the VQ-VAE must be theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.refusals import refusal
from helpers.tiny import NAMES, tiny_pipeline, tiny_prior, tiny_vqvae

from hf_jukebox import JukeboxPipeline, JukeboxPrior
from hf_jukebox.convert import assemble
from hf_jukebox.hierarchy import encoder_fingerprint

ARTISTS = {"unknown": 0, "somebody": 1, "night bus": 2}  # row 1 was that of the lanterns
TOP = "tiny_labelled_prior"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    tiny_pipeline(TOP).save_pretrained(folder / "whole")
    tiny_prior(TOP, 9, **NAMES | {"artists": ARTISTS}).save_pretrained(folder / "prior")
    return folder


def replaced(pipeline: JukeboxPipeline, prior: JukeboxPrior) -> JukeboxPipeline:
    pipeline.prior_2 = prior
    return pipeline


def registered(pipeline: JukeboxPipeline, prior: JukeboxPrior) -> JukeboxPipeline:
    pipeline.register_modules(prior_2=prior)
    return pipeline


ROADS: dict[str, Callable[[Path, JukeboxPrior], JukeboxPipeline]] = {
    "from_pretrained": lambda folder, prior: JukeboxPipeline.from_pretrained(folder, prior_2=prior),
    "low_memory": lambda folder, prior: JukeboxPipeline.from_pretrained(folder, prior_2=prior, low_memory=True),
    "attribute": lambda folder, prior: replaced(JukeboxPipeline.from_pretrained(folder), prior),
    "attribute, low_memory": lambda folder, prior: replaced(
        JukeboxPipeline.from_pretrained(folder, low_memory=True), prior
    ),
    "register_modules": lambda folder, prior: registered(JukeboxPipeline.from_pretrained(folder), prior),
    "from_pipe": lambda folder, prior: JukeboxPipeline.from_pipe(
        JukeboxPipeline.from_pretrained(folder), prior_2=prior
    ),
}


@pytest.mark.parametrize("road", ROADS.values(), ids=ROADS)
def test_a_prior_brings_its_names_along(
    folder: Path, tmp_path: Path, road: Callable[[Path, JukeboxPrior], JukeboxPipeline]
) -> None:
    prior = JukeboxPrior.from_pretrained(folder / "prior")
    pipe = road(folder / "whole", prior)
    assert pipe.prior_2 is prior and pipe.tokenizer.artists(2) == ["night bus", "somebody", "unknown"]
    labels = pipe.tokenizer(artist="somebody", level=2, total_length=2**15, window_length=prior.config.window_length)
    assert labels["labels"][0, 3] == 1
    pipe.to("cpu")
    assert pipe.prior_2 is prior
    out = pipe(artist="somebody", audio_length_in_s=0.05, levels=(2,), output_type="latent", generator=0)
    assert out.codes[2].shape[0] == 1
    if pipe._on_disk is None:
        pipe.save_pretrained(tmp_path)
        assert JukeboxPipeline.from_pretrained(tmp_path).tokenizer.artists(2) == pipe.tokenizer.artists(2)


def test_a_refused_part_changes_nothing(folder: Path) -> None:
    pipe = JukeboxPipeline.from_pretrained(folder / "whole")
    before = dict(pipe.components)
    with pytest.raises(ValueError, match="give it as prior_1"):
        pipe.prior_2 = pipe.prior_1
    with pytest.raises(ValueError, match="has upsampling_ratio 4, but the VQ-VAE needs 8"):
        pipe.vqvae = tiny_vqvae(downs_t=[3, 2, 3])
    with pytest.raises(ValueError, match="The tokenizer's names for level 2"):
        pipe.tokenizer = JukeboxPipeline.from_pretrained(
            folder / "whole", prior_2=JukeboxPrior.from_pretrained(folder / "prior")
        ).tokenizer
    assert all(pipe.components[name] is part for name, part in before.items())
    pipe.prior_0 = None
    assert pipe.prior_0 is None and pipe.config["prior_0"] == (None, None)


OTHER_VQVAE = "The prior of level 2 was trained on the codes of another VQ-VAE"


def test_a_part_of_another_class_is_refused_by_name(folder: Path) -> None:
    pipe = JukeboxPipeline.from_pretrained(folder / "whole")
    for name, wrong in [("vqvae", None), ("vqvae", pipe.prior_2), ("prior_0", pipe.vqvae), ("tokenizer", "x")]:
        with pytest.raises(ValueError, match=f"`{name}` must be a Jukebox.*, not a {type(wrong).__name__}"):
            pipe.register_modules(**{name: wrong})
    with pytest.raises(ValueError, match="`vqvae` must be a JukeboxVQVAE"):
        JukeboxPipeline.from_pretrained(folder / "whole", vqvae=None)


def test_a_prior_of_another_vqvae_of_the_same_shape_is_refused_unless_one_insists(folder: Path, tmp_path: Path) -> None:
    fingerprint = encoder_fingerprint(JukeboxPipeline.from_pretrained(folder / "whole").vqvae)
    settings: dict[str, Any] = NAMES | {"artists": ARTISTS}
    tiny_prior(TOP, 9, **settings, vqvae_fingerprint=fingerprint).save_pretrained(tmp_path / "own")
    tiny_prior(TOP, 9, **settings, vqvae_fingerprint="0" * 64).save_pretrained(tmp_path / "other")
    own, other = (JukeboxPrior.from_pretrained(tmp_path / name) for name in ("own", "other"))
    for road in ROADS.values():
        message = refusal(lambda road=road: road(folder / "whole", other), ValueError)  # type: ignore[misc]
        assert message.startswith(OTHER_VQVAE) and "config.vqvae_fingerprint to None" in message
    pipe = JukeboxPipeline.from_pretrained(folder / "whole", prior_2=own)
    with pytest.raises(ValueError, match=OTHER_VQVAE):
        pipe.vqvae = tiny_vqvae(7)
    with torch.no_grad():
        for parameter in pipe.vqvae.decoders[0].parameters():
            parameter.mul_(2)  # the codes mean the same
    pipe.register_modules(prior_2=own)
    insisting = JukeboxPrior.from_pretrained(tmp_path / "other", vqvae_fingerprint=None)
    pipe.prior_2 = insisting
    assert pipe.prior_2 is insisting


def test_assembling_checks_the_vqvae_unless_one_insists(folder: Path, tmp_path: Path) -> None:
    whole = folder / "whole"
    tiny_prior(TOP, 9, **NAMES, vqvae_fingerprint="0" * 64).save_pretrained(tmp_path / "other")
    parts = [whole / "prior_0", whole, tmp_path / "other"]
    message = refusal(lambda: assemble(whole, parts, tmp_path / "out"))
    assert message.startswith(OTHER_VQVAE) and "allow_other_vqvae=True" in message
    assert not (tmp_path / "out").exists()
    assemble(whole, parts, tmp_path / "out", allow_other_vqvae=True)
    pipe = JukeboxPipeline.from_pretrained(tmp_path / "out")
    assert pipe.prior_2.config.vqvae_fingerprint is None and pipe.tokenizer.artists(2)


def test_a_fingerprint_is_hexadecimal() -> None:
    with pytest.raises(ValueError, match="vqvae_fingerprint must be 64 hexadecimal digits"):
        tiny_prior("tiny_prior", vqvae_fingerprint="../x")
