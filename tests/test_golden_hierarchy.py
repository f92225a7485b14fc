"""Whole greedy runs over three levels against those measured from the original code: the same codes everywhere."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.golden import ORIGINAL, golden_pipeline_folder
from safetensors.torch import load_file

from hf_jukebox import JukeboxPipeline

# The songs have names that not every level knows, and lyrics that not every model reads.
pytestmark = pytest.mark.filterwarnings("ignore:Level|This model")

RATE = 44100
METAS = json.loads((ORIGINAL / "metas.json").read_text())["metas"]
TOP_PRIORS = ("prior_5b", "prior_5b_lyrics", "prior_1b_lyrics", "small_sep_enc_dec")


@pytest.fixture(scope="module", params=TOP_PRIORS)
def top(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def pipe(top: str, tmp_path_factory: pytest.TempPathFactory) -> JukeboxPipeline:
    pipeline = JukeboxPipeline.from_pretrained(golden_pipeline_folder(top, tmp_path_factory.mktemp("golden")))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def expected(name: str) -> dict[str, torch.Tensor]:
    return load_file(ORIGINAL / f"{name}_expected.safetensors")


def options() -> dict[str, Any]:
    return {
        "artist": [meta["artist"] for meta in METAS],
        "genre": [meta["genre"] for meta in METAS],
        "lyrics": [meta["lyrics"] for meta in METAS],
        "total_length_in_s": [meta["total_length"] / RATE for meta in METAS],
        "offset_in_s": [meta["offset"] / RATE for meta in METAS],
        "audio_length_in_s": 8192 / RATE,
        "temperature": 1,
        "top_k": 1,
        "output_type": "pt",
    }


def check(codes: list[torch.Tensor], top: str, mode: str) -> None:
    measured = expected("hierarchy")
    for level in range(3):
        assert torch.equal(codes[level], measured[f"{top}.{mode}.codes_{level}"].long())


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["captured", "compiled"])
def test_ancestral_on_a_gpu(top: str, compiled: bool, tmp_path: Path) -> None:
    pipeline = JukeboxPipeline.from_pretrained(golden_pipeline_folder(top, tmp_path)).to("cuda")
    pipeline.set_progress_bar_config(disable=True)
    if compiled:
        pipeline.compile()
    check([codes.cpu() for codes in pipeline(**options()).codes], top, "ancestral")


def test_ancestral(pipe: JukeboxPipeline, top: str) -> None:
    out = pipe(**options())
    check(out.codes, top, "ancestral")
    audio = expected("hierarchy")[f"{top}.ancestral.audio"]
    assert (out.audios - audio.clamp(-1, 1)).abs().max() < 1e-4


def test_primed(pipe: JukeboxPipeline, top: str) -> None:
    out = pipe(expected("vqvae")["x"], prompt_length_in_s=20 * 128 / RATE, **options())
    check(out.codes, top, "primed")


def test_continue(pipe: JukeboxPipeline, top: str) -> None:
    whole = [expected("hierarchy")[f"{top}.continue.codes_{level}"].long() for level in range(3)]
    out = pipe(codes=[codes[:, : codes.shape[1] * 3 // 8] for codes in whole], **options())
    check(out.codes, top, "continue")


def test_upsample_song_by_song(pipe: JukeboxPipeline, top: str) -> None:
    given = expected("hierarchy")[f"{top}.ancestral.codes_2"].long()
    out = pipe(codes=[None, None, given], max_batch_size=1, **options())
    check(out.codes, top, "ancestral")
