"""Forks programs from a process that has imported the libraries once: started by helpers/forked.py.

A request is one message: the program's words, folder and environment as JSON, with its stdin, stdout and stderr and a
pipe for its process id and, in the end, its status.
"""

import json
import os
import runpy
import signal
import socket
import sys

import torch

import helpers.tiny_training  # noqa: F401
import hf_jukebox.cli.commands
import hf_jukebox.pipeline_jukebox
import hf_jukebox.training.data  # noqa: F401


def wait_for_requests(requests: socket.socket) -> list[str]:
    """Return the words of a program in a process of its own, for each request; end when the tests do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those below
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 2**20, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return in_process_of_its_own(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def in_process_of_its_own(request: dict, stdin: int, stdout: int, stderr: int, status: int) -> list[str]:
    if child := os.fork():
        os.write(status, f"{child}\n".encode())
        for descriptor in (0, 1, 2, stdin, stdout, stderr):
            os.close(descriptor)
        os.write(status, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
        os._exit(0)
    for descriptor, copy in enumerate((stdin, stdout, stderr)):
        os.dup2(copy, descriptor)
    for descriptor in (stdin, stdout, stderr, status):
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    encoding = os.environ.get("PYTHONIOENCODING") or "utf-8"
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    return request["words"]


def run(program: str, *words: str) -> None:
    sys.argv = [program, *words]
    if program.endswith(".py"):
        sys.path.insert(0, os.path.dirname(program))
        runpy.run_path(program, run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(*wait_for_requests(socket.socket(fileno=os.dup(0))))
