"""The command line, with real files; the errors a newcomer meets end in one line and exit status 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import run
from helpers.tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox.cli.models import suggest_compiling


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "prompt.wav"
    soundfile.write(path, noise_audio(codes_in_s(6)).numpy(), RATE)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))


def test_sample_writes_every_level(model: Path, prompt: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("sample", prompt, "--output", out, "--model", model, "--seconds", codes_in_s(10), "--seed", 1)
    assert result.exit_code == 0, result.output
    assert files(out) == [f"level_{level}/item_0.wav" for level in range(3)]
    assert str(out / "level_0" / "item_0.wav") in result.stdout.replace("\n", "")
    for level in range(3):
        samples, rate = soundfile.read(out / f"level_{level}" / "item_0.wav")
        assert rate == RATE and len(samples) == 10 * TOP_HOP
        assert np.abs(samples).max() > 0


def test_without_a_prompt_songs_are_made_up(model: Path, tmp_path: Path) -> None:
    arguments = ["--model", model, "--seconds", codes_in_s(4), "--num-samples", 2, "--seed", 3, "--levels", "2,1"]
    arguments += ["--artist", "night bus", "--genre", "rock", "--temperature", "0.9,0.9,0.98", "--top-k", 5]
    for name in ("a", "b"):
        assert run("sample", "--output", tmp_path / name, *arguments).exit_code == 0
    assert files(tmp_path / "a") == [f"level_{level}/item_{item}.wav" for level in (1, 2) for item in (0, 1)]
    for name in files(tmp_path / "a"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_auto_chooses_the_precision_by_what_is_sampled_and_a_resumed_run_keeps_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fast_dtype(device: torch.device, **what: bool) -> torch.dtype:
        asked.append(what)
        return torch.bfloat16

    monkeypatch.setattr("hf_jukebox.sampling.precision.fast_dtype", fast_dtype)
    sample = ["sample", "--model", model, "--seconds", codes_in_s(2), "--levels", 2, "--output"]
    result = run(*sample, tmp_path / "one", "--dtype", "auto", "--quiet")
    assert result.exit_code == 0 and not result.stderr
    result = run(*sample, tmp_path / "two", "--num-samples", 2)
    assert "Working in bfloat16, which is fast here; --dtype chooses another precision.\n" in result.stderr
    assert run(*sample, tmp_path / "given", "--dtype", "float32").exit_code == 0
    assert asked == [{"is_compiled": False, "is_one_song": each} for each in (True, False)]
    assert run("continue", tmp_path / "one", "--seconds", codes_in_s(3)).exit_code == 0
    assert len(asked) == 2
    steps = json.loads((tmp_path / "one" / "request.json").read_text())["steps"]
    assert [step["model"]["dtype"] for step in steps] == ["torch.bfloat16"] * 2


def test_a_terminal_suggests_compiling_where_that_saves_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, compiler = tiny_pipeline(), list[str | None](["g++"])
    monkeypatch.setattr("hf_jukebox.sampling.compiled.shutil.which", lambda name: compiler[0])

    def suggestion(seconds: float | None, is_terminal: bool = True) -> str:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
        suggest_compiling(pipe, seconds)
        return capsys.readouterr().err

    assert (
        suggestion(10.0) == "There is a C++ compiler: --compile makes this several times as fast, after some seconds.\n"
    )
    assert not suggestion(9.9) and not suggestion(None) and not suggestion(10.0, is_terminal=False)
    compiler[0] = None
    assert not suggestion(10.0)


def test_prompts_are_repeated_to_the_number_of_samples(model: Path, prompt: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    soundfile.write(other, noise_audio(codes_in_s(6), seed=1).numpy(), RATE)
    out = tmp_path / "out"
    arguments = ["--model", model, "--seconds", codes_in_s(7), "--num-samples", 4]
    assert run("sample", prompt, other, "--output", out, *arguments).exit_code == 0
    first, second, third, fourth = (soundfile.read(out / "level_0" / f"item_{item}.wav")[0] for item in range(4))
    known = 100  # samples that the decoder makes from the prompt's codes alone
    assert np.array_equal(first[:known], third[:known]) and np.array_equal(second[:known], fourth[:known])
    assert not np.array_equal(first[:known], second[:known])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_no_prompt_is_dropped_or_used_more_often_than_the_others(
    model: Path, prompt: Path, tmp_path: Path, count: int
) -> None:
    result = run("sample", *[prompt] * 3, "--output", tmp_path / "out", "--model", model, "--num-samples", count)
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert result.stderr == (
        f"hf-jukebox: --num-samples {count} cannot be divided evenly among 3 prompts; give a multiple of 3, "
        "such as 3 or 6.\n"
    )


def test_an_unknown_genre_is_one_line_of_warning(model: Path, tmp_path: Path) -> None:
    arguments = ["--model", model, "--seconds", codes_in_s(4), "--levels", "2", "--genre", "polka"]
    result = run("sample", "--output", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "polka" in line]
    assert line.startswith("hf-jukebox: Level 2 has no genre 'polka'")
    assert "UserWarning" not in result.stderr


def test_a_real_process_reports_an_error_in_one_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hf_jukebox.cli",
        "sample",
        str(tmp_path / "none.wav"),
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    lines = [line for line in done.stderr.splitlines() if line.startswith("hf-jukebox:")]
    assert done.returncode == 2
    assert len(lines) == 1 and "none.wav" in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seconds", "0.0001"], "--seconds is 0.0001, but the shortest piece"),
        (["--seconds", "700"], "longest song"),
        (["--total-seconds", "0.5"], "at least 1"),
        (["--temperature", "1,1"], "--temperature needs one value"),
    ],
)
def test_values_that_do_not_fit_the_model_are_reported_by_option(
    model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("sample", "--output", tmp_path / "out", "--model", model, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("hf-jukebox:") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"this is no sound", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_prompt_that_is_not_audio_is_refused(model: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    result = run("sample", path, "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 2 and "bad.wav" in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(model: Path, prompt: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    result = run("sample", prompt, "--output", tmp_path / "out", "--model", model)
    assert result.exit_code == 2 and "is a file" in result.stderr
    assert (tmp_path / "out").read_text() == "precious"


def test_a_damaged_weight_file_is_named(model: Path, tmp_path: Path) -> None:
    tiny_pipeline("tiny_labelled_prior").save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "prior_1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    result = run("sample", "--output", tmp_path / "out", "--model", tmp_path / "model", "--seconds", 1)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("hf-jukebox:") == 1 and "prior_1" in result.stderr


def test_separately_trained_models_are_assembled(model: Path, tmp_path: Path) -> None:
    parts = ["--vqvae", model / "vqvae"]
    for level in range(3):
        parts += ["--prior", model / f"prior_{level}"]
    result = run("assemble", *parts, "--output", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    sampled = run("sample", "--model", tmp_path / "mine", "--output", tmp_path / "out", "--seconds", codes_in_s(2))
    assert sampled.exit_code == 0, sampled.output
    wrong = run("assemble", "--vqvae", model / "vqvae", "--prior", model / "prior_0", "--output", tmp_path / "wrong")
    assert wrong.exit_code == 2 and wrong.stderr.count("hf-jukebox:") == 1
    assert not (tmp_path / "wrong").exists()
