"""Sampling options, each declared once for the pipeline, the steps of a run and the command line.

To add one that changes how a code is sampled, add a field to `SamplingSettings` and to `LevelOptions`, and use it in
`logits.sample_from_logits`. This module imports no torch, so that the command line checks values at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict

from .values import PerLevel, number, per_level, whole_number


def _setting(default: float, *, help: str, holds: Callable[[float], bool], rule: str) -> Any:
    """Declare a setting: its default, its help on the command line, and the values that it takes."""
    return field(default=default, metadata={"help": help, "holds": holds, "rule": rule})


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of one level; `temperature=1, top_k=1` is greedy.

    Args:
        temperature: Logits are divided by it; at least 1e-30, so that the quotients stay finite in float32.
        top_k: Keep the most likely codes, ties included; 0 keeps all.
        top_p: Keep the most likely codes until their sum first exceeds it, at least one; 0 keeps all.

    Raises:
        ValueError: a value is out of range, or two filters are set.
    """

    temperature: float = _setting(
        0.99,
        help="Below 1 is safer, above wilder",
        holds=lambda value: 1e-30 <= value < math.inf,
        rule="must be above 0, at least 1e-30, and finite; to sample greedily use `temperature=1` and `top_k=1`",
    )
    top_k: int = _setting(
        0,
        help="Keep the k most likely codes, 0 keeps all",
        holds=lambda value: value >= 0,
        rule="must be 0 (off) or a number of codes",
    )
    top_p: float = _setting(
        0.0,
        help="Keep the most likely codes up to this sum",
        holds=lambda value: 0 <= value < 1,
        rule="must be 0 (off) or lie between 0 and 1",
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            name, given = setting.name, getattr(self, setting.name)
            value = whole_number(name, given) if type(setting.default) is int else number(name, given)
            if not setting.metadata["holds"](value):
                rule, _, advice = setting.metadata["rule"].partition(";")
                raise ValueError(f"`{name}` {rule}, not {value}{';' if advice else ''}{advice}.")
            object.__setattr__(self, name, value)
        if self.top_k and self.top_p:
            raise ValueError("Use `top_k` or `top_p`, not both.")


class LevelOptions(TypedDict, total=False):
    """Options with one value for all levels or one per level; see `JukeboxPipeline.__call__`."""

    temperature: PerLevel[float]
    top_k: PerLevel[int]
    top_p: PerLevel[float]
    hop_fraction: PerLevel[float] | None


class SamplingOptions(LevelOptions, total=False):
    """All options of sampling, as keywords; see `JukeboxPipeline.__call__`."""

    levels: int | Sequence[int] | None
    upsampling: Literal["sequential", "parallel"]
    max_batch_size: int | None
    avoid: str | os.PathLike[str] | None
    longest_in_s: float | None


def check_hop_fraction(value: float | None) -> None:
    """Check the hop from window to window as a share of a window; None stands for the default.

    Raises:
        ValueError: it is not above 0 and at most 1.
    """
    if value is not None and not 0 < number("hop_fraction", value) <= 1:
        raise ValueError(f"`hop_fraction` must be above 0 and at most 1, not {value}.")


def settings_per_level(
    options: Mapping[str, Any], num_levels: int, before: Sequence[SamplingSettings] | None = None
) -> list[SamplingSettings]:
    """Return the settings of each level, finest first, from options with one value for all levels or one per level.

    Args:
        before: Settings of an earlier step, which options that are missing or None keep.

    Raises:
        ValueError: a value is out of range, or there are values for another number of levels.
    """
    names = [setting.name for setting in fields(SamplingSettings)]
    given = {name: per_level(name, options.get(name), num_levels) for name in names}
    settings = [SamplingSettings()] * num_levels if before is None else before
    return [
        replace(each, **{name: values[level] for name, values in given.items() if values[level] is not None})
        for level, each in enumerate(settings)
    ]
