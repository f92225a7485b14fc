"""hf-jukebox train, encode and env: the programs of training under one name, and what a report needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import run

import hf_jukebox
from hf_jukebox.runs.model_source import demo_fingerprints


@pytest.mark.parametrize("command", ["train vqvae", "train prior", "encode"])
def test_a_command_lists_its_options_under_its_own_name(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"usage: hf-jukebox {command} ")
    assert "--train_data_dir" in result.output and f"hf-jukebox {command} --" in result.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train vqvae --train_data_dir EMPTY --output_dir EMPTY/out", "There is no audio in EMPTY"),
        ("train prior --train_data_dir EMPTY", "Name the VQ-VAE whose codes to model"),
        ("train prior --vqvae x --train_data_dir EMPTY --prioor y", "--prioor"),
        ("encode --train_data_dir EMPTY", "--vqvae"),
    ],
)
def test_wrong_options_end_with_one_line_and_status_2(tmp_path: Path, command: str, message: str) -> None:
    result = run(*command.replace("EMPTY", str(tmp_path)).split())
    name = re.split(r" --", command)[0]
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Help: ")]
    assert result.exit_code == 2 and len(lines) == 1
    assert lines[0].startswith(f"hf-jukebox {name}: ") and message.replace("EMPTY", str(tmp_path)) in lines[0]


@pytest.mark.parametrize("module", ["hf_jukebox.train_prior", "hf_jukebox.encode"])
def test_a_program_starts_as_a_module_and_names_the_extra_that_is_missing(module: str) -> None:
    hidden = "import sys, runpy; sys.modules['datasets'] = None; sys.argv = ['program']; "
    code = f"{hidden}runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.endswith('pip install "hf_jukebox[train]"') and "datasets" in line


def test_env_has_versions_devices_and_the_fingerprints_of_the_model() -> None:
    result = run("env")
    versions, libraries, cpu, *_, model = result.output.splitlines()
    assert result.exit_code == 0
    assert versions.startswith(f"hf_jukebox {hf_jukebox.__version__}, Python 3.")
    assert re.search(r"torch \d.*transformers \d", libraries)
    assert re.match(r"cpu: \d+ cores, \d+ threads, [\d.]+ GB free", cpu)
    assert all(f"{part} {fingerprint}" in model for part, fingerprint in demo_fingerprints().items())


def test_env_of_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    result = run("env", "--model", tmp_path)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1 and str(tmp_path) in result.stderr
