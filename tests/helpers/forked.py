"""Programs in processes of their own, which start at once: forked from one that has imported the libraries.

Importing torch, transformers and diffusers takes seconds. Where a test needs a process for its signals, its end, its
output or its rank, and not for its start, it takes one of these. What is read at the import cannot be set for them: the
environment variables of huggingface_hub and PyTorch.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

from helpers.ports import free_port

_TESTS = Path(__file__).parents[1]


@cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path = os.pathsep.join([str(_TESTS.parent / "src"), str(_TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "helpers.fork_server"]
    subprocess.Popen(command, stdin=theirs, env=environment, preexec_fn=_default_signals)
    theirs.close()
    return ours


def _default_signals() -> None:
    """Undo what a shell that runs tests in the background passes on: to ignore Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Forked:
    """Program that runs, with the methods of `subprocess.Popen` that tests need.

    Args:
        program: Module, as after `python -m`, or path of a script.
        words: Arguments.
        stdout, stderr: Descriptor to write to; by default a pipe, which is the attribute of that name.
        folder: Folder to run in.
        environment: Environment variables beside those of the tests.
    """

    def __init__(
        self,
        program: str | Path,
        *words: object,
        stdout: int | None = None,
        stderr: int | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        request = {
            "words": [str(program), *map(str, words)],
            "folder": str(folder or Path.cwd()),
            "environment": dict(os.environ | (environment or {})),
        }
        pipes: dict[int, IO[bytes]] = {}
        descriptors = [os.open(os.devnull, os.O_RDONLY)]
        for number, given in ((1, stdout), (2, stderr), (3, None)):
            reader, writer = os.pipe() if given is None else (None, os.dup(given))
            descriptors.append(writer)
            if reader is not None:
                pipes[number] = open(reader, "rb", buffering=0 if number == 3 else -1)  # noqa: SIM115
        socket.send_fds(_server(), [json.dumps(request).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.stdout, self.stderr, self._status = pipes.get(1), pipes.get(2), pipes[3]
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self._status.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """Return what is left in both pipes."""
        with ThreadPoolExecutor(2) as threads:
            output, errors = threads.map(_rest, (self.stdout, self.stderr))
        self.wait()
        return output, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self.kill()
        self.wait()
        for pipe in (self.stdout, self.stderr, self._status):
            if pipe is not None:
                pipe.close()


def _rest(pipe: IO[bytes] | None) -> str:
    return "" if pipe is None or pipe.closed else pipe.read().decode()


def run(program: str | Path, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` with `capture_output` and `text` does."""
    with Forked(program, *words, **options) as started:
        output, errors = started.communicate()
    return subprocess.CompletedProcess(started.pid, started.wait(), output, errors)


def run_on(processes: int, program: str | Path, *words: object) -> list[subprocess.CompletedProcess[str]]:
    """Run a program on several processes, with the variables that a launcher sets for each."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "ACCELERATE_USE_CPU": "true"}
    if processes > 1:
        shared |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}

    def run_rank(rank: int) -> subprocess.CompletedProcess[str]:
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        return run(program, *words, environment=shared | ranks)

    _server()  # started once, before the threads
    with ThreadPoolExecutor(processes) as threads:
        return list(threads.map(run_rank, range(processes)))
