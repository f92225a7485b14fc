"""Parts of a pipeline are trained further, and remember the VQ-VAE of their codes."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.golden import ORIGINAL
from helpers.refusals import refusal
from helpers.tiny import RATE, noise_audio, tiny_pipeline, tiny_vqvae
from helpers.tiny_training import loop_arguments

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxVQVAE
from hf_jukebox.audio import write_audio
from hf_jukebox.convert.parts import load_part
from hf_jukebox.hierarchy import encoder_fingerprint
from hf_jukebox.training.data import DataArguments
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import train_prior


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a pipeline, another VQ-VAE of its shape, and songs."""
    folder = tmp_path_factory.mktemp("parts")
    tiny_pipeline().save_pretrained(folder / "whole")
    tiny_vqvae(5).save_pretrained(folder / "vqvae")
    (folder / "songs").mkdir()
    for number in range(3):
        write_audio(folder / "songs" / f"{number}.wav", noise_audio(2.0, number), RATE)
    return folder


def train(folder: Path, output: Path, prior: str, vqvae: str = "whole", **options: object) -> JukeboxPrior:
    arguments = PriorArguments(vqvae=str(folder / vqvae), prior=str(folder / prior), **options)  # type: ignore[arg-type]
    data = DataArguments(train_data_dir=str(folder / "songs"))
    train_prior(arguments, data, loop_arguments(output, max_train_steps=1))
    return JukeboxPrior.from_pretrained(output)


def test_priors_of_a_pipeline_are_fine_tuned_by_level_or_name(folder: Path, tmp_path: Path) -> None:
    fingerprint = encoder_fingerprint(JukeboxPipeline.from_pretrained(folder / "whole").vqvae)
    for prior, options, level in (("whole", {"level": 1}, 1), ("whole/prior_0", {}, 0)):
        trained = train(folder, tmp_path / str(level), prior, "whole/vqvae", **options)
        assert trained.config.level == level and trained.config.vqvae_fingerprint == fingerprint
        pipe = JukeboxPipeline.from_pretrained(folder / "whole", **{f"prior_{level}": trained})
        assert pipe.priors[level] is trained


def test_fine_tuning_on_the_codes_of_another_vqvae_needs_an_option(folder: Path, tmp_path: Path) -> None:
    trained = train(folder, tmp_path / "first", "whole")
    assert trained.config.level == 2
    trained.save_pretrained(folder / "prior")
    message = refusal(lambda: train(folder, tmp_path / "refused", "prior", "vqvae"), ValueError)
    assert "was trained on the codes of another VQ-VAE" in message and "pass --allow_other_vqvae" in message
    assert not (tmp_path / "refused").exists()
    other = train(folder, tmp_path / "second", "prior", "vqvae", allow_other_vqvae=True)
    assert other.config.vqvae_fingerprint == encoder_fingerprint(tiny_vqvae(5))
    assert not torch.equal(other.position_embedding, trained.position_embedding)


def test_a_part_of_an_old_repository_is_named_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    old = tmp_path / "old"
    shutil.copytree(ORIGINAL.parent / "transformers", old)
    with pytest.warns(UserWarning, match="has no artist"):
        prior = load_part(JukeboxPrior, old, "prior_1")
    assert prior.config.level == 1 and prior.name_or_path == str(old)
    vqvae = load_part(JukeboxVQVAE, old / "vqvae", "vqvae")
    assert encoder_fingerprint(vqvae) == prior.config.vqvae_fingerprint and vqvae.name_or_path == str(old)
