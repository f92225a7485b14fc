"""Pipelines are saved and loaded: whole, in part, as variants, and under the public name of the package."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines import pipeline_loading_utils
from helpers.tiny import TOP_HOP, codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline


@pytest.fixture(scope="module")
def labelled() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def test_save_and_load_give_the_same_music(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    labelled.save_pretrained(tmp_path)
    loaded = JukeboxPipeline.from_pretrained(tmp_path)
    options: dict[str, Any] = {"artist": "night bus", "audio_length_in_s": codes_in_s(6)}
    before, after = labelled(**options, generator=0), loaded(**options, generator=0)
    assert all(torch.equal(a, b) for a, b in zip(before.codes, after.codes, strict=True))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert "model_index.json" in files
    assert {f"prior_{level}/model.safetensors" for level in range(3)} <= files


def test_a_level_set_to_none_is_not_loaded(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    labelled.save_pretrained(tmp_path)
    (tmp_path / "prior_0" / "model.safetensors").unlink()
    top = JukeboxPipeline.from_pretrained(tmp_path, prior_0=None)
    assert top.prior_0 is None
    out = top(audio_length_in_s=codes_in_s(4))
    assert out.level_audios[0] is None and out.audios.shape == (1, 4 * TOP_HOP)


def test_the_index_names_the_public_package(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    """Check the tables of diffusers behind this, which are undocumented and may change."""
    assert "hf_jukebox" in pipeline_loading_utils.LOADABLE_CLASSES
    assert "JukeboxPrior" in pipeline_loading_utils.ALL_IMPORTABLE_CLASSES
    labelled.save_pretrained(tmp_path)
    script = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'\n"
        "from hf_jukebox import JukeboxPipeline\n"
        f"pipe = JukeboxPipeline.from_pretrained({str(tmp_path)!r})\n"
        "assert pipe.config['prior_0'] == ('hf_jukebox', 'JukeboxPrior'), pipe.config\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_variants_and_half_precision(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    labelled.save_pretrained(tmp_path, variant="ema")
    loaded = JukeboxPipeline.from_pretrained(tmp_path, variant="ema", dtype="bfloat16")
    assert loaded.prior_2.transformer.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    assert loaded.prior_2.head.weight.dtype == torch.float32
    assert next(loaded.vqvae.parameters()).dtype == torch.float32  # codes must not depend on the precision
    assert loaded(audio_length_in_s=codes_in_s(4)).audios.shape == (1, 4 * TOP_HOP)
    with pytest.raises(ValueError, match="no dtype 'bf16x'"):
        JukeboxPipeline.from_pretrained(tmp_path, variant="ema", dtype="bf16x")
