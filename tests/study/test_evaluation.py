"""An evaluation of a pipeline: JSON, Markdown and plots, from recordings or from codes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import run
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, score_codes
from hf_jukebox.audio import write_audio
from hf_jukebox.study.evaluation import EvaluationSettings, continuations, evaluate
from hf_jukebox.study.excerpts import Excerpt, read_excerpts
from hf_jukebox.study.likelihood import bits_per_code, label_accuracy
from hf_jukebox.training.data import encode_songs, songs_of_folder

WINDOW = 64 * 128


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a pipeline, labelled songs and their codes."""
    folder = tmp_path_factory.mktemp("work")
    pipe = tiny_pipeline("tiny_labelled_prior")
    pipe.save_pretrained(folder / "model")
    (folder / "songs").mkdir()
    rows = ["file_name,artist,genre"]
    for seed in range(6):
        write_audio(folder / "songs" / f"{seed}.wav", noise_audio(codes_in_s(180), seed).numpy(), 22050)
        rows.append(f"{seed}.wav,{'the lanterns' if seed % 2 else 'night bus'},{'rock' if seed else 'polka'}")
    (folder / "songs" / "metadata.csv").write_text("\n".join(rows))
    encode_songs(songs_of_folder(folder / "songs"), pipe.vqvae, folder / "codes")
    return folder


@pytest.fixture(scope="module")
def pipe(workplace: Path) -> JukeboxPipeline:
    pipe = JukeboxPipeline.from_pretrained(workplace / "model")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def excerpts(workplace: Path, pipe: JukeboxPipeline) -> list[Excerpt]:
    return read_excerpts(workplace / "songs", pipe.vqvae, WINDOW, 4)


def test_excerpts_are_the_same_part_of_recordings_and_of_codes(workplace, pipe, excerpts):
    from_codes = read_excerpts(workplace / "codes", pipe.vqvae, WINDOW, 4)
    assert [each.song.name for each in excerpts] == ["0.wav", "2.wav", "3.wav", "5.wav"]
    for a, b in zip(excerpts, from_codes, strict=True):
        assert (a.song, a.offset) == (b.song, b.offset) and b.audio is None and len(a.audio) == WINDOW
        for ours, cached in zip(a.codes, b.codes, strict=True):
            assert (ours == cached).float().mean() > 0.8  # the edges of an excerpt lack their context
    with pytest.raises(ValueError, match="choose a smaller one"):
        read_excerpts(workplace / "songs", pipe.vqvae, 2**20 * 128, 4)
    with pytest.raises(ValueError, match="codes of another VQ-VAE"):
        read_excerpts(workplace / "codes", tiny_pipeline(seed=9).vqvae, WINDOW, 4)


def test_bits_per_code_are_the_mean_of_the_scores_in_all_and_by_place(pipe, excerpts):
    free = tiny_pipeline()  # without labels
    (top,) = [row for row in bits_per_code(free, excerpts) if row["level"] == 2]
    codes = torch.stack([excerpt.codes[2] for excerpt in excerpts])
    bits = score_codes(free.priors[2], codes)
    assert top["bits_per_code"] == pytest.approx(bits.mean().item(), abs=1e-3)
    assert top["by_place"] == pytest.approx(bits.unflatten(1, (16, 4)).mean((0, 2)).tolist(), abs=1e-3)
    assert top["bits_per_second"] == pytest.approx(top["bits_per_code"] * 22050 / 128, abs=0.1)
    assert 0 < top["unigram_entropy"] <= 6 and top["windows"] == 4


def relabelled(excerpts: list[Excerpt], **labels: str) -> list[Excerpt]:
    return [replace(excerpt, song=replace(excerpt.song, **labels)) for excerpt in excerpts]


def test_labels_are_right_where_the_prior_prefers_the_true_name(pipe, excerpts, monkeypatch):
    def bits(pipe: Any, prior: Any, excerpt: Any, labels: dict[str, str] | None = None, most: int = 4) -> np.ndarray:
        names = [name.lower() for name in labels.values()]
        return np.full((1, 64), 1.0 if "the lanterns" in names or "rock" in names else 2.0)

    monkeypatch.setattr("hf_jukebox.study.likelihood._window_bits", bits)
    found = label_accuracy(pipe, excerpts)
    assert found["artist"] == {"accuracy": 0.5, "chance": 0.5, "pieces": 4}
    assert found["genre"] == {"accuracy": 1.0, "chance": 0.5, "pieces": 3}  # the prior does not know polka
    assert label_accuracy(pipe, relabelled(excerpts, artist="The LANTERNS"))["artist"]["accuracy"] == 1
    assert label_accuracy(tiny_pipeline(), excerpts) == {}


def test_equally_likely_names_share_the_credit(excerpts):
    deaf = tiny_pipeline("tiny_labelled_prior")
    prior = deaf.priors[2]
    prior.config.artists = {"the lanterns": 1, "night bus": 2, "nightbus": 2}
    with torch.no_grad():
        for parameter in prior.label_embedding.parameters():
            parameter.zero_()
    found = label_accuracy(deaf, excerpts)["artist"]
    assert found == {"accuracy": 0.5, "chance": 0.5, "pieces": 4}  # two rows, whatever their number of names


def test_labels_are_used_in_any_spelling_and_unknown_ones_are_reported(pipe, excerpts, caplog):
    as_written = [bits_per_code(pipe, relabelled(excerpts, artist=name))[-1] for name in ("the lanterns", "?")]
    other = bits_per_code(pipe, relabelled(excerpts, artist=" The LANTERNS"))[-1]
    assert other == as_written[0] != as_written[1]
    evaluate(pipe, excerpts, EvaluationSettings(continuations=0))
    (warning,) = [record.getMessage() for record in caplog.records if "unknown" in record.getMessage()]
    assert "1 songs have a genre that is missing from the table of the prior" in warning and "polka" in warning


def test_everything_is_measured_and_repeatable(pipe, excerpts):
    settings = EvaluationSettings(continuations=2)
    embedded: list[tuple[int, ...]] = []

    def embed(audio: torch.Tensor) -> torch.Tensor:
        embedded.append(tuple(audio.shape))
        return audio.unflatten(1, (-1, 128)).square().mean(2)

    result = evaluate(pipe, excerpts, settings, embed)
    assert json.loads(json.dumps(result)) == evaluate(pipe, excerpts, settings, embed)
    assert [row["level"] for row in result["reconstruction"]] == [0, 1, 2]
    assert all(math.isfinite(value) for row in result["reconstruction"] for value in row.values())
    assert embedded[0] == (2, WINDOW // 2)
    continued = result["continuations"]
    assert continued["pieces"] == 2 and continued["real"]["same_key"] in (0, 0.5, 1)
    assert continued["distance"]["frechet"] > 0 and continued["floor"]["vectors"] == 2
    assert 1 <= continued["sampled"]["vendi_score"] <= 2
    assert "floor" not in continuations(pipe, [*excerpts, excerpts[0]], EvaluationSettings(continuations=3), embed)
    assert result["seams"]["level"] == 0 and result["seams"]["seams"] > 0
    parts: list[str] = []
    quick = evaluate(pipe, excerpts, EvaluationSettings(continuations=0), on_part=parts.append)
    assert parts == ["reconstruction", "bits per code", "labels"] and "continuations" not in quick


def test_the_command_writes_json_markdown_and_plots(workplace, tmp_path):
    command = ("evaluate", workplace / "model", "--excerpts", 3, "--continuations", 2, "-o", tmp_path / "report")
    result = run(*command, "--data", workplace / "codes")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert json.loads(result.stdout.splitlines()[-1]) == found
    assert "reconstruction" not in found and found["continuations"]["pieces"] == 2 and found["excerpts"] == 3
    card = (tmp_path / "report" / "evaluation.md").read_text()
    assert "| level | bits per code |" in card and "![bits_per_code](bits_per_code.png)" in card
    assert "### Seams of parallel upsampling" in card and "None" not in card
    assert (tmp_path / "report" / "bits_per_code.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_ends_with_one_line(workplace, tmp_path, monkeypatch):
    for message, command in {
        "--continuations must be at least 0": (workplace / "model", "--data", workplace, "--continuations", -1),
        "There is no file": (workplace / "model", "--data", tmp_path / "none"),
        "There is no audio in": (workplace / "model", "--data", tmp_path),
        "Name the model as the argument": ("demo", "--data", workplace, "--model", "demo"),
        "choose a smaller one": (workplace / "model", "--data", workplace / "songs", "--seconds", 100),
    }.items():
        result = run("evaluate", *command, "-o", tmp_path / "report", "--no-plots")
        assert result.exit_code == 2 and message in result.stderr.replace("\n", " "), (message, result.output)
    assert not (tmp_path / "report").exists()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    result = run("evaluate", workplace / "model", "--data", workplace / "songs", "-o", tmp_path / "report")
    assert result.exit_code == 2 and "hf_jukebox[study]" in result.stderr.replace("\n", " ")
