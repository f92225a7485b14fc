"""The folder in which PyTorch keeps what it has compiled, so that the next start of a program finds it there.

By default it lies among the temporary files, which are emptied. Ours is kept in the assets folder of the Hugging Face
cache, one per version of PyTorch, processor and device; within it, PyTorch looks a step up by its graph and its
settings, and so by the configuration of its model. The folder is kept as a whole, since the artifacts that
`torch.compiler.save_cache_artifacts` returns leave out the compiled C++ code, which takes most of the time on a CPU.

It holds machine code and pickled graphs, as PyTorch's own folder does. So it is used only if it belongs to the user and
nobody else can write to it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import stat
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import cached_assets_path
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

logger = logging.getLogger(__name__)

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_FACTS = ("vendor_id", "cpu family", "model", "stepping", "model name", "flags", "Features", "CPU part")


def use_compile_cache(device: torch.device) -> Path | None:
    """Let PyTorch keep what it compiles for a device in a folder that stays; return the folder.

    A folder that the environment variable TORCHINDUCTOR_CACHE_DIR names is used as it is. If no folder can be used, a
    warning says so, and PyTorch keeps what it compiles among the temporary files.
    """
    named = os.environ.get(_VARIABLE)
    if named and named != default_cache_dir():  # to which PyTorch itself sets the variable
        return Path(named)
    try:
        folder = cached_assets_path("hf_jukebox", namespace="compiled", subfolder=_key(device))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_private = _is_private(folder)
    except OSError as error:
        _warn(f"What is compiled cannot be kept for the next start: {error}.")
        return None
    if not is_private:
        _warn(
            f"{folder} belongs to another user, or others can write to it, so compiled code is neither read from it "
            f"nor kept there; to allow it run: chmod 700 {folder}"
        )
        return None
    os.environ[_VARIABLE] = str(folder)
    return folder


@cache
def _warn(message: str) -> None:
    """Warn once, however many parts of a program ask for the folder."""
    logger.warning(message)


def _is_private(folder: Path) -> bool:
    """Return whether a folder belongs to this user and no one else can write to it; as is usual on Windows."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _key(device: torch.device) -> str:
    """Return a name for what compiled code is made for: the version of PyTorch, the processor and the device."""
    instructions = torch.backends.cpu.get_cpu_capability()  # ATEN_CPU_CAPABILITY may leave some of them out
    facts = [torch.__version__, platform.system(), platform.machine(), _processor(), instructions, _device_name(device)]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return f"torch-{torch.__version__.partition('+')[0]}-{device.type}-{digest}"


def _processor() -> str:
    """Return the model of the processor and what it can do; less where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor()
    facts = dict(line.partition(":")[::2] for line in reversed(lines))
    return json.dumps({name.strip(): value for name, value in sorted(facts.items()) if name.strip() in _FACTS})


def _device_name(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)} {torch.version.cuda}"
