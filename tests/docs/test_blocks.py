"""Code blocks of README.md and docs/*.md: each page is one test, which runs its blocks from first to last.

The rules that authors follow are in CONTRIBUTING.md, "Documentation".
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = re.compile(r"# needs (?:the network|a GPU|a C\+\+ compiler|a clone|files of your own)\b")
RUN_BY_CI = [line.strip() for line in (ROOT / ".ci/run").read_text("utf-8").splitlines()]
PROGRAM = f'#!/bin/sh\nexec "{sys.executable}" -m hf_jukebox "$@"\n'  # this checkout's, whatever is installed
SONGS = ["examples/demo/synthesize.py", "--songs", "10", "--seconds", "12.5", "--format", "wav", "--output"]


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ten songs of 12.5 s with a table of artists and genres."""
    folder = tmp_path_factory.mktemp("songs")
    subprocess.run([sys.executable, *SONGS, folder], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which the programs of this interpreter and this checkout are found."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "hf-jukebox").write_text(PROGRAM)
    (folder / "hf-jukebox").chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"HF_HUB_OFFLINE": "1", "PATH": path, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def folder(tmp_path: Path, songs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder of a page: prompt.wav, songs/ and examples/."""
    shutil.copy(ROOT / "examples" / "prompt.wav", tmp_path)
    shutil.copytree(songs, tmp_path / "songs")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_that_are_not_run_say_why() -> None:
    """Check, without running anything, that a block is `python`, `bash` or what nobody would take for a command."""
    for page in PAGES:
        for language, first in re.findall(r"^```(\w*)\n(.*)$", page.read_text("utf-8"), re.MULTILINE):
            assert language not in ("sh", "shell", "py", "console"), f"{page.name}: write ```bash or ```python"
            assert not first.startswith("# needs") or NEEDS.match(first), f"{page.name}: {first}"


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, folder: Path, environment: dict[str, str]) -> None:
    from sybil import Sybil
    from sybil.evaluators.python import PythonEvaluator
    from sybil.example import Example
    from sybil.parsers.myst import CodeBlockParser

    in_python = PythonEvaluator()

    def run_python(example: Example) -> None:
        if NEEDS.match(example.parsed):
            compile(example.parsed, str(page), "exec")
        else:
            in_python(example)

    def run_bash(example: Example) -> None:
        text = example.parsed
        only_read = NEEDS.match(text) or any(line in RUN_BY_CI for line in text.splitlines() if line.strip())
        options = ["-n"] if only_read else ["-eu", "-o", "pipefail"]
        done = subprocess.run(
            ["bash", *options, "-c", text], cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.name}, line {example.line}: exit status {done.returncode}\n{done.stdout}"

    parsers = [CodeBlockParser("python", run_python), CodeBlockParser("bash", run_bash)]
    document = Sybil(parsers, path=str(page.parent), filenames=[page.name]).parse(page)
    for example in document.examples():
        example.evaluate()
