"""A C++ compiler that fails on some files."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from hf_jukebox.layers import fused_cpu


@contextmanager
def failing_compiler(folder: Path, complaint: str, files: str = "*.cpp*") -> Iterator[Path]:
    """Make PyTorch call a compiler that says `complaint` on files of a pattern, with nothing compiled before."""
    compiler = folder / "c++"
    found = next(name for name in torch._inductor.config.cpp.cxx if name and shutil.which(name))
    fail = f'echo "{complaint}" >&2; exit 1'
    compiler.write_text(f'#!/bin/sh\ncase "$*" in {files}) {fail};; esac\nexec {found} "$@"\n')
    compiler.chmod(0o755)
    fused_cpu._kernels.cache_clear()
    with pytest.MonkeyPatch.context() as patch, torch._inductor.config.patch({"cpp.cxx": (str(compiler),)}):
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))
        try:
            yield compiler
        finally:
            fused_cpu._kernels.cache_clear()
