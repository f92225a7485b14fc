"""Notebooks of the site: `python docs/_site/notebooks.py` executes docs/notebooks/*.md into docs/generated/notebooks.

The sources are Markdown, which is read and compared as text; jupytext makes notebooks of them, and nbclient executes
them with the demo model. One that is newer than its source and than the package is left alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

DOCS = Path(__file__).parents[1]
SOURCE, OUTPUT = DOCS / "notebooks", DOCS / "generated" / "notebooks"
PROGRAM = f'#!/bin/sh\nexec "{sys.executable}" -m hf_jukebox "$@"\n'  # this checkout's, whatever is installed


def make(source: Path, output: Path) -> None:
    """Execute a notebook in a folder of its own, and write it with its outputs."""
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "bin", "hf-jukebox")
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(0o755)
        os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = str(DOCS.parent / "src")
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=str(Path(folder, "kernel")))  # no ports
        client = NotebookClient(notebook, km=kernel, timeout=900, resources={"metadata": {"path": folder}})
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if not _is_noise(each)]
    output.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(notebook, output, fmt="ipynb")


def _is_noise(output: NotebookNode) -> bool:
    """Return whether an output is progress bars and log lines of libraries."""
    return output.output_type == "stream" and output.name == "stderr"


def main() -> None:
    newest = max(path.stat().st_mtime for path in (DOCS.parent / "src").rglob("*.py"))
    for source in sorted(SOURCE.glob("*.md")):
        output = OUTPUT / f"{source.stem}.ipynb"
        if output.exists() and output.stat().st_mtime > max(newest, source.stat().st_mtime):
            continue
        started = time.monotonic()
        make(source, output)
        print(f"{source.name}: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
