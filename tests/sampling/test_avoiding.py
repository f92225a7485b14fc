"""Sampling that avoids a catalogue: a guarantee about codes, however the codes are sampled."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.catalogues import TOP, catalogue_of, longest_common, top_catalogue
from helpers.refusals import refusal, refusal_to_write
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingSettings
from hf_jukebox.catalogue.folder import open_songs, write_hashed_catalogue
from hf_jukebox.sampling.logits import Exclusion, sample_from_logits

LONGEST = 50  # top-level codes
LIMIT = codes_in_s(LONGEST)
TOP_CODES = 120


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


def sample(pipe: JukeboxPipeline, length: int = TOP_CODES, **options: Any) -> Any:
    defaults: dict[str, Any] = {"levels": (2,), "generator": [1, 2], "num_waveforms_per_prompt": 2}
    return pipe(audio_length_in_s=codes_in_s(length), output_type="latent", **defaults | options)


@pytest.fixture(scope="module")
def recited(pipe: JukeboxPipeline) -> torch.Tensor:
    """Codes that the pipeline samples, and would sample again."""
    return sample(pipe).codes[TOP]


@pytest.fixture(scope="module")
def catalogue(pipe: JukeboxPipeline, recited: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of exactly what the pipeline would sample."""
    return top_catalogue(tmp_path_factory.mktemp("catalogue") / "c", list(recited.numpy()), pipe).folder


def longest(codes: torch.Tensor, catalogue: Path, level: int = TOP, start: int = 0) -> int:
    songs = open_songs(catalogue)
    return max(
        longest_common(piece, np.asarray(songs.codes(song, level)), start)
        for piece in codes.numpy()
        for song in range(len(songs.songs))
    )


def test_a_piece_that_would_be_a_copy_agrees_for_exactly_as_long_as_allowed(pipe, recited, catalogue):
    out = sample(pipe, avoid=catalogue, longest_in_s=LIMIT)
    assert torch.equal(out.codes[TOP][:, :LONGEST], recited[:, :LONGEST])
    assert longest(out.codes[TOP], catalogue) == LONGEST
    assert out.avoided[:2] == [[{}, {}], [{}, {}]]
    for prices in out.avoided[TOP]:
        assert min(prices) == LONGEST and all(bits > 0 for bits in prices.values())


def test_free_sampling_is_unchanged_and_has_no_price(pipe, recited, catalogue):
    assert sample(pipe).avoided is None
    # A limit that nothing reaches.
    out = sample(pipe, avoid=catalogue, longest_in_s=codes_in_s(TOP_CODES))
    assert torch.equal(out.codes[TOP], recited) and out.avoided[TOP] == [{}, {}]


def test_codes_do_not_depend_on_the_batch(pipe, catalogue):
    together = sample(pipe, avoid=catalogue, longest_in_s=LIMIT)
    one_by_one = sample(pipe, avoid=catalogue, longest_in_s=LIMIT, max_batch_size=1)
    assert torch.equal(together.codes[TOP], one_by_one.codes[TOP])
    for a, b in zip(together.avoided[TOP], one_by_one.avoided[TOP], strict=True):
        assert a.keys() == b.keys() and np.allclose(list(a.values()), list(b.values()), rtol=1e-3)


@pytest.mark.parametrize("stopped_at", [20, LONGEST, 70])
def test_a_run_records_the_catalogue_and_resumes_with_the_same_codes(pipe, catalogue, tmp_path, stopped_at):
    whole = sample(pipe, avoid=catalogue, longest_in_s=LIMIT)
    sample(
        pipe,
        avoid=catalogue,
        longest_in_s=LIMIT,
        output_dir=tmp_path / "run",
        callback=lambda progress: progress.filled < stopped_at,
    )
    (step,) = json.loads((tmp_path / "run" / "request.json").read_text())["steps"]
    assert step["request"]["avoid"]["longest"] == [0, 0, LONGEST]
    assert step["request"]["avoid"]["catalogue"] == str(catalogue)
    out = pipe.resume_run(tmp_path / "run", output_type="latent")
    assert torch.equal(out.codes[TOP], whole.codes[TOP]) and out.avoided == whole.avoided
    assert JukeboxRun.open(tmp_path / "run").avoided(TOP) == whole.avoided[TOP]
    longer = pipe.continue_run(tmp_path / "run", codes_in_s(TOP_CODES + 20), output_type="latent")
    assert longest(longer.codes[TOP], catalogue) == LONGEST
    assert longer.avoided[TOP][0].items() >= whole.avoided[TOP][0].items()


def test_a_prompt_from_the_catalogue_is_left_at_once(pipe, recited, catalogue):
    prompt = [None, None, recited[:, : LONGEST + 10]]
    out = sample(pipe, codes=prompt, avoid=catalogue, longest_in_s=LIMIT, num_waveforms_per_prompt=1)
    for row in range(2):
        assert int(out.codes[TOP][row, LONGEST + 10]) != int(recited[row, LONGEST + 10])
    assert longest(out.codes[TOP], catalogue, start=LONGEST + 10) <= LONGEST


@pytest.mark.parametrize(("upsampling", "level"), [("sequential", 1), ("parallel", 1), ("parallel", 0)])
def test_the_guarantee_holds_on_the_levels_of_the_catalogue_and_across_seams(pipe, tmp_path, upsampling, level):
    options = {"levels": range(level, 3), "upsampling": upsampling, "generator": 1, "num_waveforms_per_prompt": 1}
    free = sample(pipe, 32, **options)
    folder = catalogue_of(tmp_path / "c", [[codes[0].numpy() for codes in free.codes]], pipe, levels=(level,)).folder
    codes = {1: 52, 0: 104}[level]
    out = sample(pipe, 32, avoid=folder, longest_in_s=codes * (8, 32)[level] / 22050, **options)
    assert torch.equal(out.codes[TOP], free.codes[TOP])  # the catalogue does not hold it
    assert codes // 2 - 1 <= longest(out.codes[level], folder, level) <= codes
    assert out.avoided[level] != [{}] and out.avoided[TOP] == [{}]


def test_a_prompt_before_a_segment_counts(pipe, tmp_path):
    options = {"upsampling": "parallel", "generator": 1, "num_waveforms_per_prompt": 1}
    free = sample(pipe, 48, levels=None, **options)
    folder = catalogue_of(tmp_path / "c", [[codes[0].numpy() for codes in free.codes]], pipe, levels=(1,)).folder
    given = [None, free.codes[1][:, :60], free.codes[2]]  # the prompt ends 4 codes after the start of a segment
    out = sample(pipe, 48, levels=(1,), codes=given, avoid=folder, longest_in_s=codes_in_s(13), **options)
    assert int(out.codes[1][0, 60]) != int(free.codes[1][0, 60])
    assert longest(out.codes[1], folder, 1, start=60) <= 52


def test_hashes_give_the_same_guarantee(pipe, recited, catalogue, tmp_path):
    write_hashed_catalogue(open_songs(catalogue), tmp_path / "h", LIMIT)
    out = sample(pipe, avoid=tmp_path / "h", longest_in_s=LIMIT)
    assert LONGEST - 16 < longest(out.codes[TOP], catalogue) <= LONGEST
    assert all(out.avoided[TOP])


@pytest.mark.compiler
def test_compiled_steps_exclude_the_same_codes(pipe, catalogue):
    eager = sample(pipe, avoid=catalogue, longest_in_s=LIMIT, temperature=1.0, top_k=1)
    compiled = tiny_pipeline()
    compiled.compile()
    out = sample(compiled, avoid=catalogue, longest_in_s=LIMIT, temperature=1.0, top_k=1)
    assert torch.equal(out.codes[TOP], eager.codes[TOP])
    assert torch.equal(sample(compiled).codes[TOP].cpu(), sample(pipe).codes[TOP])


@pytest.mark.parametrize("settings", [SamplingSettings(), SamplingSettings(1.0, top_k=2), SamplingSettings(top_p=0.3)])
def test_excluded_codes_have_no_probability_and_cost_the_bits_of_the_others(settings):
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).repeat(64, 1)
    mask = torch.zeros(64, 4, dtype=torch.bool)
    mask[:32, 0] = True
    exclusion = Exclusion(mask, torch.zeros(64))
    codes = sample_from_logits(logits, torch.linspace(0, 0.999, 64), settings, exclusion=exclusion)
    assert 0 not in codes[:32] and 0 in codes[32:]
    excluded = (logits[0] / settings.temperature).softmax(0)[0].item()
    assert exclusion.bits[:32].tolist() == pytest.approx([-math.log2(1 - excluded)] * 32, rel=1e-5)
    assert exclusion.bits[32:].abs().max() == 0


def test_bad_input_is_refused_before_anything_is_sampled(pipe, catalogue, tmp_path):
    def refused(**options: Any) -> str:
        return refusal_to_write(
            tmp_path, lambda: sample(pipe, output_dir=tmp_path / "run", **options), (OSError, ValueError)
        )

    assert "name the catalogue with `avoid`" in refused(longest_in_s=2.0)
    assert "`longest_in_s` must be at least 0.134 at level 2" in refused(avoid=catalogue, longest_in_s=codes_in_s(20))
    assert "`longest_in_s` must be a number" in refused(avoid=catalogue, longest_in_s="long")
    assert "above 0, not nan" in refused(avoid=catalogue, longest_in_s=float("nan"))
    assert "holds no catalogue" in refused(avoid=catalogue.parent)
    others = top_catalogue(tmp_path / "others", [np.arange(50)]).folder
    message = refused(avoid=others)
    assert "is a catalogue of another VQ-VAE" in message and "build one from codes of this model" in message
    tiny_limit = codes_in_s(23)
    both = catalogue_of(
        tmp_path / "fine", [[np.arange(800) % 64, np.arange(200) % 64, np.arange(50)]], pipe, (1,)
    ).folder
    assert "`longest_in_s` must be at least 0.0668 at level 1" in refused(
        avoid=both, longest_in_s=tiny_limit / 4, upsampling="parallel"
    )


def test_a_catalogue_that_excludes_every_code_is_named_in_one_sentence(pipe, tmp_path):
    # Behind one stretch of codes, every code follows.
    stretch = sample(pipe).codes[TOP][0, :30].numpy()
    songs = [np.append(stretch, code) for code in range(64)]
    folder = top_catalogue(tmp_path / "c", songs, pipe).folder
    assert "choose a larger `longest_in_s`" in refusal(lambda: sample(pipe, avoid=folder, longest_in_s=codes_in_s(30)))


def test_a_step_is_recorded_only_if_its_catalogue_is_found(pipe, catalogue, tmp_path):
    copy, run = tmp_path / "copy", tmp_path / "run"
    shutil.copytree(catalogue, copy)
    sample(pipe, 30, avoid=copy, longest_in_s=LIMIT, output_dir=run)
    copy.rename(tmp_path / "elsewhere")
    go_on = lambda **options: pipe.continue_run(run, codes_in_s(40), output_type="latent", **options)  # noqa: E731
    assert "which is not there; name its place with `avoid`" in refusal(go_on)
    assert "which is not there" in refusal(lambda: pipe.upsample_run(run, output_type="latent"))
    assert len(JukeboxRun.open(run).steps) == 1
    go_on(avoid=tmp_path / "elsewhere")
    pipe.upsample_run(run, output_type="latent", callback=lambda progress: False)
    assert [step.action for step in JukeboxRun.open(run).steps] == ["sample", "continue", "upsample"]


def test_a_moved_catalogue_is_named_again_and_another_is_refused(pipe, catalogue, tmp_path):
    moved = open_songs(catalogue).folder
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in moved.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    sample(pipe, avoid=copy, longest_in_s=LIMIT, output_dir=tmp_path / "run", callback=lambda progress: False)
    copy.rename(tmp_path / "elsewhere")
    resume = lambda **options: pipe.resume_run(tmp_path / "run", output_type="latent", **options)  # noqa: E731
    assert "which is not there; name its place with `avoid`" in refusal(resume)
    other = top_catalogue(tmp_path / "other", [np.arange(50)], pipe).folder
    assert "is not the catalogue that the run avoids" in refusal(lambda: resume(avoid=other))
    out = resume(avoid=tmp_path / "elsewhere")
    assert torch.equal(out.codes[TOP], sample(pipe, avoid=catalogue, longest_in_s=LIMIT).codes[TOP])
    sample(pipe, output_dir=tmp_path / "free", callback=lambda progress: False)
    free = refusal(lambda: pipe.resume_run(tmp_path / "free", avoid=catalogue, output_type="latent"))
    assert "begun without a catalogue" in free
