"""A run records the precision of each prior and samples of its blocks, and is resumed with these alone."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun

pytestmark = pytest.mark.usefixtures("no_fsync")

PIECE: dict[str, Any] = {"audio_length_in_s": codes_in_s(20), "levels": (2,), "generator": 1, "output_type": "latent"}


def stopped(pipe: JukeboxPipeline, folder: Path) -> Path:
    pipe(**PIECE, output_dir=folder, callback=lambda progress: progress.filled < 8)
    return folder


def other_blocks() -> JukeboxPipeline:
    """Return the tiny pipeline with other weights in one place of each block, as a fine-tuned one."""
    pipe = tiny_pipeline()
    with torch.no_grad():
        for block in pipe.prior_2.transformer.blocks:
            block.mlp.fc1.weight.add_(1.0)
    return pipe


def test_blocks_with_other_weights_are_refused(tmp_path: Path) -> None:
    folder = stopped(tiny_pipeline(), tmp_path / "run")
    with pytest.raises(ValueError, match="sampled with another model: the weights of prior_2 differ; load"):
        other_blocks().resume_run(folder)
    # In another precision they cannot be compared; the warning is that of any other precision.
    with pytest.warns(UserWarning, match="was sampled in float32"):
        other_blocks().to(torch.bfloat16).resume_run(folder)


def test_a_record_without_blocks_is_resumed_as_before(tmp_path: Path) -> None:
    folder = stopped(tiny_pipeline(), tmp_path / "run")
    record = json.loads((folder / "request.json").read_text())
    assert record["steps"][0]["model"].pop("priors").keys() == {"prior_0", "prior_1", "prior_2"}
    (folder / "request.json").write_text(json.dumps(record))
    other_blocks().resume_run(folder, output_type="latent")
    assert JukeboxRun.open(folder).is_finished


def test_the_blocks_are_the_same_from_disk(tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    for dtype in ("float32", "bfloat16"):
        loaded, on_disk = (
            JukeboxPipeline.from_pretrained(tmp_path, dtype=dtype, low_memory=low) for low in (False, True)
        )
        records = loaded.model_record().priors
        assert records == on_disk.model_record().priors
        assert all(record.blocks and record.dtype == f"torch.{dtype}" for record in records.values())


def test_weights_that_cannot_be_compared_have_no_fingerprint() -> None:
    pipe = tiny_pipeline()
    linear = pipe.prior_2.transformer.blocks[0].mlp.fc1
    linear.weight = torch.nn.Parameter(linear.weight.to(torch.int8), requires_grad=False)  # as quantised ones are
    records = pipe.model_record().priors
    assert records["prior_2"].blocks is None and records["prior_1"].blocks is not None


def test_the_precision_of_each_prior_counts(tmp_path: Path) -> None:
    mixed = tiny_pipeline()
    mixed.prior_2.to(torch.bfloat16)
    folder, whole = stopped(mixed, tmp_path / "run"), mixed(**PIECE).codes[2]
    copy = stopped(mixed, tmp_path / "copy")
    message = (
        "was sampled with prior_0 in float32, prior_1 in float32, prior_2 in bfloat16, so .*; load the model with "
        r"`dtype={'prior_0': 'float32', 'prior_1': 'float32', 'prior_2': 'bfloat16'}`"
    )
    with pytest.warns(UserWarning, match=message):
        tiny_pipeline().resume_run(copy, output_type="latent")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(mixed.resume_run(folder, output_type="latent").codes[2], whole)
