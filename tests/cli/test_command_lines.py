"""The commands that a run's page shows make the same music again."""

import html
import shlex
from pathlib import Path

import pytest
import torch
from helpers.command_line import run
from helpers.tiny import RATE, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox.audio import write_audio
from hf_jukebox.runs.command_lines import run_commands
from hf_jukebox.runs.folder import JukeboxRun


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    write_audio(tmp_path / "a prompt.wav", noise_audio(codes_in_s(6)).numpy(), RATE)
    write_audio(tmp_path / "b.wav", noise_audio(codes_in_s(6), 1).numpy(), RATE)
    return tmp_path


def succeed(*arguments: object) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output


def again(folder: Path, name: str) -> tuple[JukeboxRun, JukeboxRun]:
    """Move a run aside, and make it again by the commands of its page."""
    commands = run_commands(JukeboxRun.open(name))
    page = (folder / name / "index.html").read_text("utf-8")
    assert commands and all(html.escape(command) in page.replace("&#39;", "&#x27;") for command in commands)
    (folder / name).rename(folder / "before")
    for command in commands:
        succeed(*shlex.split(command)[1:])
    return JukeboxRun.open("before"), JukeboxRun.open(name)


def test_a_run_of_several_steps_is_made_again(model: Path, folder: Path) -> None:
    succeed(
        *("sample", "a prompt.wav", "--num-samples", 2, "--prompt-seconds", codes_in_s(4), "--seconds", codes_in_s(8)),
        *("--model", model, "--artist", "night bus", "--lyrics", "one\\ntwo", "--temperature", "0.9,1,1.1"),
        *("--levels", 2, "--offset-seconds", 0.25, "--total-seconds", 70, "--output", "my run"),
    )
    succeed("pick", "my run", 1)
    longer = ["--seconds", codes_in_s(12), "--num-samples", 2, "--genre", "rock", "--top-k", 5, "--seed", 3]
    succeed("continue", "my run", *longer)
    succeed("pick", "my run", 0)
    succeed("upsample", "my run")
    first, second = again(folder, "my run")
    assert [step.request for step in first.steps] == [step.request for step in second.steps]
    assert [step.known for step in first.steps] == [step.known for step in second.steps]
    assert all(torch.equal(a, b) for a, b in zip(first.codes, second.codes, strict=True))
    assert first.request.seed == 3 and first.steps[0].request.seed is not None


def test_two_prompts_and_songs_without_one_are_made_again(model: Path, folder: Path) -> None:
    succeed("sample", "a prompt.wav", "b.wav", "--seconds", codes_in_s(7), "--model", model, "--output", "two")
    first, second = again(folder, "two")
    assert first.request == second.request and torch.equal(first.codes[0], second.codes[0])
    (folder / "before").rename(folder / "aside")
    made_up = ["--num-samples", 2, "--upsampling", "parallel", "--seed", 5]
    succeed("sample", "--seconds", codes_in_s(3), "--model", model, "--output", "up", *made_up)
    first, second = again(folder, "up")
    assert first.request == second.request and torch.equal(first.codes[0], second.codes[0])


def test_names_that_begin_with_a_dash_are_no_options(model: Path, folder: Path) -> None:
    (folder / "b.wav").rename("-b.wav")
    succeed("sample", "./-b.wav", "--seconds", codes_in_s(7), "--model", model, "--levels", 2, "--output", "./-run")
    succeed("continue", "./-run", "--seconds", codes_in_s(8))
    first, second = again(folder, "-run")
    assert torch.equal(first.codes[2], second.codes[2])
    result = run("sample", "--output", "-run", "--levels", 2)
    assert "extend it with: hf-jukebox continue ./-run --seconds S, or" in result.stderr


def test_the_command_that_extends_a_run_is_quoted_and_names_a_song_of_a_batch(model: Path, folder: Path) -> None:
    (folder / "songs.yaml").write_text(f"[{{name: one, seconds: {codes_in_s(3)}}}]")
    words = ("sample", "--requests", "songs.yaml", "--levels", 2, "--output", "a b's")
    succeed(*words, "--model", model)
    said = run(*words).stderr
    assert "holds a finished batch; extend one of its songs with: hf-jukebox continue " in said
    words = shlex.split(said.partition("with: ")[2].partition(", or give")[0])
    assert words == ["hf-jukebox", "continue", "a b's/one", "--seconds", "S"]
    succeed(*words[1:-1], codes_in_s(4))


@pytest.mark.compiler
def test_a_compiled_run_goes_on_compiled_and_is_made_again(model: Path, folder: Path) -> None:
    compiled = ["--compile", "--dtype", "bfloat16", "--seed", 1]
    succeed("sample", "--seconds", codes_in_s(20), "--model", model, "--levels", 2, "--output", "fast", *compiled)
    succeed("continue", "fast", "--seconds", codes_in_s(30))
    succeed("upsample", "fast")
    first, second = again(folder, "fast")
    assert [step.model.is_compiled for step in first.steps + second.steps] == [True] * 6
    assert all(torch.equal(a, b) for a, b in zip(first.codes, second.codes, strict=True))


def test_what_no_command_makes_has_none(folder: Path) -> None:
    pipe = tiny_pipeline("tiny_labelled_prior")
    pipe(audio_length_in_s=codes_in_s(2), levels=2, output_dir="unsaved", output_type="latent")
    assert run_commands(JukeboxRun.open("unsaved")) == []
    pipe.save_pretrained("model")
    pipe = type(pipe).from_pretrained("model")
    options = {"audio_length_in_s": codes_in_s(3), "levels": 2, "output_type": "latent"}
    pipe(noise_audio(codes_in_s(2)), sampling_rate=RATE, output_dir="array", **options)
    pipe(artist=["night bus", "the lanterns"], output_dir="two-artists", **options)
    pipe(generator=[1, 2], num_waveforms_per_prompt=2, output_dir="two-seeds", **options)
    assert [run_commands(JukeboxRun.open(name)) for name in ("array", "two-artists", "two-seeds")] == [[], [], []]
    used = torch.Generator().manual_seed(1)
    torch.rand(1, generator=used)
    pipe(generator=used, output_dir="used", **options)
    assert JukeboxRun.open("used").request.seed is None and run_commands(JukeboxRun.open("used")) == []
