"""Errors that end a command or a script in one line, and those that keep their traceback."""

import logging
import sys
import warnings
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_pipeline

from hf_jukebox.allocator import is_out_of_memory
from hf_jukebox.cli.terminal import in_options
from hf_jukebox.console.errors import errors_as_one_line
from hf_jukebox.sampler import logger as own_logger
from hf_jukebox.tokenization_jukebox import JukeboxTokenizer


def as_line(**options: object) -> AbstractContextManager[None]:
    return errors_as_one_line("program", on_low_memory="use less", **options)


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(2**60),
        lambda: torch.zeros(2**60, dtype=torch.uint8),
        lambda: np.zeros(2**57),
        lambda: bytearray(2**62),
    ],
    ids=["torch", "torch zeros", "numpy", "bytes"],
)
def test_running_out_of_memory_is_one_line(capsys: pytest.CaptureFixture[str], allocate: object) -> None:
    with pytest.raises(SystemExit) as stopped, as_line():
        allocate()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("program: Memory has run out") and line.endswith("; use less.")


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 23.64 GiB",
        "CUDA error: out of memory",
        "MPS backend out of memory (MPS allocated: 9.03 GB, other allocations: 1.2 MB, max allowed: 9.07 GB).",
        "Invalid buffer size: 24.00 GiB",
        "HIP out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000 bytes.",
        "unable to mmap 2000000000 bytes from file <model.safetensors>: Cannot allocate memory (12)",
        "std::bad_alloc",
    ],
)
def test_every_out_of_memory_message_is_recognised(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def test_a_bug_keeps_its_traceback() -> None:
    for error in (TypeError("x"), RuntimeError("shapes differ"), AssertionError(), ZeroDivisionError()):
        with pytest.raises(type(error)), as_line():
            raise error


def test_a_message_of_several_lines_is_printed_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), as_line():
        raise ValueError("one\ntwo\n   three")
    assert capsys.readouterr().err == "program: one two three\n"


def test_the_first_of_several_processes_prints_the_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    for each_process in (False, True):
        with pytest.raises(SystemExit), as_line(each_process=each_process):
            raise OSError("no disk")
    assert capsys.readouterr().err == "program: no disk\n"


def test_only_messages_of_this_package_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_pipeline("tiny_labelled_prior").tokenizer
    assert isinstance(tokenizer, JukeboxTokenizer)
    with as_line():
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
        for name in ("torch", "transformers", "diffusers", "torchao", "accelerate", "httpx"):
            logging.getLogger(name).warning("somebody else's")
        own_logger.warning("%d songs", 3)
        own_logger.info("no news")
        tokenizer(level=2, genre="polka", total_length=10**6, window_length=1000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "program: 3 songs" and second.startswith("program: Level 2 has no genre 'polka'")


def test_quiet_prints_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny_pipeline("tiny_labelled_prior").tokenizer

    def sample() -> None:
        own_logger.warning("%d songs", 3)
        tokenizer(level=2, genre="polka", total_length=10**6, window_length=1000)
        raise ValueError("wrong")

    with pytest.raises(SystemExit), as_line(quiet=True):
        sample()
    assert capsys.readouterr().err == "program: wrong\n"


def test_the_log_is_restored_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["torch", "transformers", "hf_jukebox"]
    before = [(logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names]
    shown = warnings.showwarning
    with as_line(log_level=logging.INFO):
        own_logger.info("news")
    assert capsys.readouterr().err == "news\n" and warnings.showwarning is shown
    assert [(logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names] == before


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`audio_length_in_s` is 0.1, but", "--seconds is 0.1, but"),
        ("ask for a smaller `audio_length_in_s` or `offset_in_s`.", "ask for a smaller --seconds or --offset-seconds."),
        ("name the levels to sample, such as `levels=(2,)`.", "name the levels to sample, such as --levels 2."),
        ("such as `levels=(2, 1)`.", "such as --levels 2,1."),
        ("`levels` is empty;", "--levels is empty;"),
        ("Level 7 has no prior; `levels` may be [0, 1].", "Level 7 has no prior; --levels may be [0, 1]."),
        ("use `temperature=1` and `top_k=1`.", "use --temperature 1 and --top-k 1."),
        ("try `dtype='float16'`, or `enable_model_cpu_offload()`.", "try --dtype float16, or --low-memory."),
        ("load it without `low_memory`.", "load it without --low-memory."),
        ("pass `allow_other_vqvae=True`.", "pass --allow-other-vqvae."),
        ("`output_type` must be 'np'", "`output_type` must be 'np'"),
        ("There is no file top_k.", "There is no file top_k."),
        ("output_dir holds no run; levels of output", "output_dir holds no run; levels of output"),
    ],
)  # fmt: skip
def test_messages_use_the_names_of_options(message: str, said: str) -> None:
    assert in_options(message) == said


def test_a_closed_pipe_ends_the_program_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    from subprocess import PIPE, Popen

    code = (
        "from hf_jukebox.console.errors import errors_as_one_line\n"
        "from hf_jukebox.console.lines import write_line\n"
        "with errors_as_one_line('program'):\n"
        "    while True:\n"
        "        write_line('x' * 1000)\n"
    )
    with Popen([sys.executable, "-c", code], stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141
