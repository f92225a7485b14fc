"""The `dtype` argument of `from_pretrained`."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import torch

from ..files.text import listed

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def dtype_argument(
    options: MutableMapping[str, Any], parts: Sequence[str]
) -> torch.dtype | dict[str, torch.dtype | None] | None:
    """Pop `dtype`, or its older name `torch_dtype`, from the arguments of `from_pretrained`.

    Args:
        parts: Names that a dict may have, besides `"default"`, the precision of those that it leaves out.

    Returns:
        A dtype, a dict from part to dtype, or None for the precision of the saved files.

    Raises:
        ValueError: the value is not a dtype for weights, a part is unknown, or both names are given.
    """
    dtype, other = options.pop("dtype", None), options.pop("torch_dtype", None)
    if dtype is not None and other is not None:
        raise ValueError("`dtype` and `torch_dtype` mean the same; give `dtype` alone.")
    dtype = other if dtype is None else dtype
    if isinstance(dtype, dict):
        for part in dtype:
            if part not in (*parts, "default"):
                raise ValueError(f"There is no part {part!r}; `dtype` takes {listed([*parts, 'default'])}.")
        return {part: _precision(value) for part, value in dtype.items()}
    return _precision(dtype)


def _precision(dtype: Any) -> torch.dtype | None:
    if dtype is None or dtype == "auto":
        return None
    named = PRECISIONS.get(dtype.removeprefix("torch.")) if isinstance(dtype, str) else dtype
    if named not in PRECISIONS.values():
        raise ValueError(f"There is no dtype {dtype!r} for weights; use float32, bfloat16 or float16.")
    assert isinstance(named, torch.dtype)
    return named
