"""What a configuration may say: the ranges of its numbers, and which settings of a file are read.

A config.json may come from anybody. No model with numbers in these ranges takes long to describe, and none of its sizes
overflows; whether its weights are there is for `weight_files` to say.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

from .files.text import read_json_object

# The largest value of each setting; the smallest is 1 for a count and 0 for the others.
MOST: Mapping[str, int] = {
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
_MOST_ENTRIES = 16  # levels of a VQ-VAE, strides of a conditioner
_LONGEST_HOP = 2**24  # samples
_MOST_DILATION = 2**24  # samples
_MOST_BLOCKS = 2**12  # residual blocks of a model; a thousand take a tenth of a second to describe
_MOST_FACTOR = 2**6
_MOST_CHARACTERS = 2**16
_DTYPES = ("float32", "float16", "bfloat16")


def check_counts(config: PreTrainedConfig, *names: str, least: int = 1) -> None:
    """Raise a ValueError for a count, or a list of counts, outside of its range."""
    for name in names:
        value = getattr(config, name)
        for each in value if isinstance(value, list) else [value]:
            if each < least:
                raise ValueError(f"{name} must be at least {least}, not {value}.")
            if each > MOST[name]:
                raise ValueError(f"{name} must be at most {MOST[name]}, not {value}.")


def check_entries(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError for a list with more entries than any model has."""
    for name in names:
        if len(getattr(config, name)) > _MOST_ENTRIES:
            raise ValueError(f"{name} may have {_MOST_ENTRIES} entries at most, not {len(getattr(config, name))}.")


def check_numbers(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError for a number that is infinite, not a number, or negative."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be a finite number of at least 0, not {getattr(config, name)}.")


def check_factor(name: str, factor: float, width: int) -> None:
    """Raise a ValueError for a factor that makes less than one channel of a width, or more than any model has."""
    if not 0 < factor <= _MOST_FACTOR:  # NaN is not
        raise ValueError(f"{name} must lie above 0 and be at most {_MOST_FACTOR}, not {factor}.")
    if int(factor * width) < 1:
        raise ValueError(f"{name}={factor} of a width of {width} leaves no channel; raise it.")


def check_residual_stack(prefix: str, depth: int, growth_rate: int, cycle: int | None) -> None:
    """Raise a ValueError for a stack of residual blocks that reaches too far; `prefix` begins the settings' names."""
    if cycle is not None and cycle < 1:
        raise ValueError(f"{prefix}dilation_cycle must be at least 1, or null for none, not {cycle}.")
    if growth_rate < 1 or growth_rate > _MOST_DILATION:
        raise ValueError(f"{prefix}dilation_growth_rate must lie between 1 and {_MOST_DILATION}, not {growth_rate}.")
    last = min(cycle or depth, depth) - 1
    if last * math.log2(growth_rate) > math.log2(_MOST_DILATION):
        raise ValueError(
            f"{prefix}dilation_growth_rate={growth_rate} over {last + 1} blocks dilates by more than {_MOST_DILATION} "
            f"samples; set {prefix}dilation_cycle."
        )


def check_blocks(prefix: str, blocks: int) -> None:
    """Raise a ValueError for a model of too many residual blocks."""
    if blocks > _MOST_BLOCKS:
        raise ValueError(f"{prefix}depth makes {blocks} residual blocks, but {_MOST_BLOCKS} are the most.")


def check_hop(strides: Sequence[int], downs: Sequence[int]) -> None:
    """Raise a ValueError for a top-level code of too many samples."""
    if sum(down * math.log2(stride) for stride, down in zip(strides, downs, strict=True)) > math.log2(_LONGEST_HOP):
        raise ValueError(f"downs_t={downs} with strides_t={strides} make a code of more than {_LONGEST_HOP} samples.")


def check_table(name: str, table: dict[str, int] | None, rows: int) -> None:
    """Raise a ValueError for a table of names with ids that are no rows."""
    if not table:
        return
    largest, smallest = max(table.values()), min(table.values())
    if largest >= rows:
        raise ValueError(f"{name} holds the id {largest}, but there are only {rows} rows.")
    if smallest < 0:
        raise ValueError(f"{name} holds the id {smallest}, but ids begin at 0.")


def check_alphabet(alphabet: str) -> None:
    """Raise a ValueError for an alphabet that is too long."""
    if len(alphabet) > _MOST_CHARACTERS:
        raise ValueError(f"alphabet may have {_MOST_CHARACTERS} characters at most, not {len(alphabet)}.")


def read_settings_file(path: str | os.PathLike[str], config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """Read the settings of a config.json that a configuration of ours has.

    All others are left out: transformers would follow some of them to other files, to kernels of the Hub and to
    attributes of the class.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON object, or describes another model.
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
    """Keep those of the settings that a configuration of ours has.

    Raises:
        ValueError: the dtype is none that our models have.
    """
    own = vars(config_class)["__annotations__"]
    kept = {name: value for name, value in settings.items() if name in own}
    if settings.get("architectures") == [config_class.__name__.removesuffix("Config")]:  # as save_pretrained writes it
        kept["architectures"] = settings["architectures"]
    dtype = settings.get("dtype", settings.get("torch_dtype"))
    if dtype is not None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}.")
        kept["dtype"] = dtype
    return kept
