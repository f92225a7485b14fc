"""`hf-jukebox app` as a process of its own, which can be killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Self

_SOURCE = Path(__file__).parents[2] / "src"


class AppProcess:
    """A server with the demo model, ready when it is made; `log` is its file of messages.

    Args:
        runs: Folder of the runs.
        options: Options of the command.
        program: Script to run in place of the command.
        variables: Environment variables.
    """

    def __init__(self, runs: Path, *options: str, program: Path | None = None, **variables: str) -> None:
        self.log = runs.with_suffix(".log")
        environment = os.environ | {"PYTHONPATH": str(_SOURCE), "OMP_NUM_THREADS": "1"} | variables
        command = [sys.executable, "-m", "hf_jukebox", "app", "--runs", str(runs), *options]
        if program is not None:
            command = [sys.executable, str(program)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"http://localhost:(\d+)", line):
                self.url = f"http://localhost:{found[1]}/"
                return
        raise RuntimeError(self.log.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would (kill -9)."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
