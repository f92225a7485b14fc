"""Checks on a configuration: the ranges of its numbers, and the settings that are read from a file.

A config.json may come from an untrusted source. Numbers in these ranges keep the size of a model from overflowing and
its construction on the meta device fast; `loading.weight_files` compares it with the weights.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

from .files.text import read_json_object

# The largest value of each setting; the smallest is 1 for a count and 0 for the others.
MAX_VALUES: Mapping[str, int] = {
    # both
    "sampling_rate": 2**20,
    "codebook_size": 2**20,
    # the VQ-VAE
    "codebook_dim": 2**14,
    "width": 2**14,
    "depth": 2**10,
    "multipliers": 2**6,
    "downs_t": 2**4,
    "strides_t": 2**8,
    "linf_top_k": 2**31,
    # the priors
    "hop_length": 2**24,
    "n_ctx": 2**22,
    "hidden_size": 2**16,
    "num_hidden_layers": 2**10,
    "num_attention_heads": 2**10,
    "attention_blocks": 2**20,
    "upsampling_strides": 2**8,
    "conditioner_width": 2**14,
    "conditioner_depth": 2**10,
    "num_artists": 2**24,
    "num_genres": 2**24,
    "genre_words": 2**10,
    "num_time_bins": 2**20,
    "n_lyrics": 2**20,
    "lyrics_hidden_size": 2**16,
    "lyrics_num_hidden_layers": 2**10,
    "lyrics_num_attention_heads": 2**10,
    "lyrics_attention_blocks": 2**20,
}
_MAX_ENTRIES = 16  # levels of a VQ-VAE, strides of a conditioner
_MAX_HOP = 2**24  # samples
_MAX_DILATION = 2**24  # samples
_MAX_BLOCKS = 2**12  # residual blocks of a model; a thousand take a tenth of a second to construct
_MAX_FACTOR = 2**6
_MAX_CHARACTERS = 2**16
_DTYPES = ("float32", "float16", "bfloat16")


def check_counts(config: PreTrainedConfig, *names: str, least: int = 1) -> None:
    """Raise a ValueError for a count, or a list of counts, outside of its range."""
    for name in names:
        value = getattr(config, name)
        for each in value if isinstance(value, list) else [value]:
            if each < least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
            if each > MAX_VALUES[name]:
                raise ValueError(f"{name} must be at most {MAX_VALUES[name]}, not {value}.")


def check_entries(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError for a list with more entries than any model has."""
    for name in names:
        if len(getattr(config, name)) > _MAX_ENTRIES:
            raise ValueError(f"{name} may have {_MAX_ENTRIES} entries at most, not {len(getattr(config, name))}.")


def check_numbers(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError for a number that is infinite, not a number, or negative."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, not {getattr(config, name)}.")


def check_factor(name: str, factor: float, width: int) -> None:
    """Raise a ValueError for a factor that leaves no channel of a width, or is larger than in any model."""
    if not 0 < factor <= _MAX_FACTOR:  # NaN is not
        raise ValueError(f"{name} must be above 0 and at most {_MAX_FACTOR}, not {factor}.")
    if int(factor * width) < 1:
        raise ValueError(f"{name}={factor} of a width of {width} leaves no channel; raise it.")


def check_residual_stack(prefix: str, depth: int, growth_rate: int, cycle: int | None) -> None:
    """Raise a ValueError for a stack of residual blocks that dilates too far; `prefix` begins the settings' names."""
    if cycle is not None and cycle < 1:
        raise ValueError(f"{prefix}dilation_cycle must be at least 1, or null for none, not {cycle}.")
    if growth_rate < 1 or growth_rate > _MAX_DILATION:
        raise ValueError(f"{prefix}dilation_growth_rate must be between 1 and {_MAX_DILATION}, not {growth_rate}.")
    last = min(cycle or depth, depth) - 1
    if last * math.log2(growth_rate) > math.log2(_MAX_DILATION):
        raise ValueError(
            f"{prefix}dilation_growth_rate={growth_rate} over {last + 1} blocks dilates by more than {_MAX_DILATION} "
            f"samples; set {prefix}dilation_cycle."
        )


def check_blocks(prefix: str, blocks: int) -> None:
    """Raise a ValueError for a model of too many residual blocks."""
    if blocks > _MAX_BLOCKS:
        raise ValueError(f"{prefix}depth makes {blocks} residual blocks; reduce it to at most {_MAX_BLOCKS} blocks.")


def check_hop(strides: Sequence[int], downs: Sequence[int]) -> None:
    """Raise a ValueError for a top-level code of too many samples."""
    if sum(down * math.log2(stride) for stride, down in zip(strides, downs, strict=True)) > math.log2(_MAX_HOP):
        raise ValueError(f"downs_t={downs} with strides_t={strides} make codes of more than {_MAX_HOP} samples.")


def check_table(name: str, table: dict[str, int] | None, rows: int) -> None:
    """Raise a ValueError for a table of names whose ids exceed the rows of an embedding."""
    if not table:
        return
    largest, smallest = max(table.values()), min(table.values())
    if largest >= rows:
        raise ValueError(f"{name} holds the id {largest}, but there are only {rows} rows.")
    if smallest < 0:
        raise ValueError(f"{name} holds the id {smallest}, but ids begin at 0.")


def check_alphabet(alphabet: str) -> None:
    """Raise a ValueError for an alphabet that is too long."""
    if len(alphabet) > _MAX_CHARACTERS:
        raise ValueError(f"alphabet may have {_MAX_CHARACTERS} characters at most, not {len(alphabet)}.")


def check_licence(licence: str | None) -> None:
    """Raise a ValueError for a licence that is not the id of one, as cards state it."""
    if licence is not None and re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", licence) is None:
        raise ValueError(f"weights_license must be the id of a licence, such as apache-2.0, not {licence[:80]!r}.")


def read_settings_file(path: str | os.PathLike[str], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Read those settings of a config.json that `config_class` declares.

    All others are ignored: some make transformers load other files or kernels from the Hub, or set attributes of the
    class.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a JSON object, or describes another model.
    """
    settings = read_json_object(path)
    found = settings.get("model_type", config_class.model_type)
    if found != config_class.model_type:
        raise ValueError(f"{path} describes a {found!r}, but a {config_class.model_type!r} is needed.")
    try:
        return own_settings(settings, config_class)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def own_settings(settings: Mapping[str, Any], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Return those of the settings that `config_class` declares.

    Raises:
        ValueError: the dtype is not one of our models'.
    """
    own = vars(config_class)["__annotations__"]
    kept = {name: value for name, value in settings.items() if name in own}
    if settings.get("architectures") == [config_class.__name__.removesuffix("Config")]:  # written by save_pretrained
        kept["architectures"] = settings["architectures"]
    dtype = settings.get("dtype", settings.get("torch_dtype"))
    if dtype is not None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}.")
        kept["dtype"] = dtype
    return kept
