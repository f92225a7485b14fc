"""Names of devices and precisions, checked before anything is loaded."""

from __future__ import annotations

import re

AUTO = "auto"
DTYPES = ("float32", "float16", "bfloat16", AUTO)

_DEVICE = re.compile(r"(gpu|cuda|xpu|mps|cpu)(?::(\d{1,4}))?")


def check_device_name(name: str | None) -> None:
    """Check that a device has a valid name, without importing torch.

    Raises:
        ValueError: there is no such device.
    """
    if name is not None and _DEVICE.fullmatch(name.lower()) is None:
        raise ValueError(f"There is no device {name!r}; use cuda, mps or cpu, or leave --device out for the best.")


def find_device(name: str | None) -> str:
    """Return torch's name of a device of this machine: the best by default, and for `gpu` whichever GPU there is.

    Raises:
        ValueError: this machine has no such device.
    """
    check_device_name(name)
    kind, _, index = ("" if name is None else name.lower()).partition(":")
    if kind == "cpu":
        return "cpu"
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    here = None if accelerator is None else accelerator.type
    if name is None:
        return here if here in ("cuda", "mps") else "cpu"
    if here is None:
        raise ValueError("There is no GPU here that torch can use; leave --device out, or use cpu.")
    if kind not in ("gpu", here):
        raise ValueError(f"There is no {kind} device here; use {here} or cpu.")
    count = torch.accelerator.device_count()
    if index and int(index) >= count:
        raise ValueError(f"There is no {here}:{int(index)} here; the last one is {here}:{count - 1}.")
    return f"{here}:{int(index)}" if index else here


def check_dtype(name: str) -> None:
    """Check that a precision is one that the models can have.

    Raises:
        ValueError: it is not.
    """
    if name.removeprefix("torch.") not in DTYPES:
        raise ValueError(f"There is no dtype {name!r}; use float32, float16, bfloat16 or auto.")
