"""Priors that stay on disk until they are needed."""

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline


def test_priors_on_disk_sample_the_same_and_are_freed_again(tmp_path):
    pipe = tiny_pipeline("tiny_labelled_prior")
    pipe.save_pretrained(tmp_path)
    lean = JukeboxPipeline.from_pretrained(tmp_path, low_memory=True).to("cpu")
    lean.set_progress_bar_config(disable=True)
    in_memory: list[int] = []

    def watch(progress: object) -> None:
        in_memory.append(sum(not prior.position_embedding.is_meta for prior in lean.priors))

    options = {"audio_length_in_s": codes_in_s(20), "total_length_in_s": 2.0, "artist": "night bus"}
    whole = pipe(**options, generator=torch.Generator().manual_seed(0))
    out = lean(**options, generator=torch.Generator().manual_seed(0), callback=watch, output_dir=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.codes, out.codes, strict=True))
    assert set(in_memory) == {1}
    assert all(prior.position_embedding.is_meta for prior in lean.priors)
    with pytest.raises(ValueError, match="load it without `low_memory`"):
        lean.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()
