"""Activations of a top prior, pooled over time: one vector per recording, per stretch of seconds or per code."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..modeling_prior import JukeboxPrior
from ..sampling.options import check_hop_fraction
from ..sampling.values import at_least_one, is_list, number, whole_number
from ..sampling.windows import Window, plan_windows, round_hop

Pool: TypeAlias = Literal["mean"] | float | None
"""`"mean"` over the recording, over each stretch of this many seconds, or None for every code."""
Compat: TypeAlias = Literal["jukemir"] | None
LabelsAt: TypeAlias = Callable[[int], torch.Tensor] | None
"""Function from a window's first code to its label rows `[1, label_length]`; None for a prior without labels."""

# The recipe of Castellon et al. (2021), "Codified audio language modeling learns useful representations for MIR".
JUKEMIR_SECONDS, JUKEMIR_TOTAL_SECONDS = 25, 62


@dataclass(frozen=True)
class EmbeddingSettings:
    """Checked settings of an embedding.

    Args:
        layers: Layers to read, in the order of the result: 0 is the input of the first block, n the output of block n,
            counted from 1.
        pools: Ways to pool over time.
        hop: Codes from the start of one window to that of the next.
        windows: Number of windows to use, from the start of a recording; None for all.
        compat: `"jukemir"` for that study's audio and labels.
    """

    layers: tuple[int, ...]
    pools: tuple[Pool, ...]
    hop: int
    windows: int | None = None
    compat: Compat = None

    @classmethod
    def resolve(
        cls,
        config: JukeboxPriorConfig,
        layers: int | Sequence[int] | None = None,
        pool: Pool | Sequence[Pool] = "mean",
        windows: int | None = None,
        hop_fraction: float = 1.0,
        compat: Compat = None,
    ) -> Self:
        """Check the arguments of `JukeboxPipeline.embed` against the config of a top prior.

        Raises:
            ValueError: one is out of range; the message says what to change.
        """
        depth = config.num_hidden_layers
        wanted = [depth // 2] if layers is None else list(layers) if is_list(layers) else [layers]  # type: ignore[arg-type]
        wanted = [whole_number("layers", layer) for layer in wanted]
        for layer in wanted:
            if not 0 <= layer <= depth:
                raise ValueError(
                    f"There is no layer {layer}: this prior has {depth}, so `layers` may be 0, the input of the first, "
                    f"to {depth}, the output of the last."
                )
        pools = list(pool) if is_list(pool) else [pool]  # type: ignore[arg-type]
        if not wanted or not pools:
            raise ValueError("`layers` and `pool` must not be empty; name at least one of each.")
        if compat not in (None, "jukemir"):
            raise ValueError(f"`compat` must be 'jukemir' or None, not {compat!r}.")
        if compat is not None and (windows is not None or hop_fraction != 1.0):
            raise ValueError("`compat='jukemir'` uses the first window alone; leave `windows` and `hop_fraction` out.")
        check_hop_fraction(number("hop_fraction", hop_fraction))
        windows = 1 if compat is not None else None if windows is None else at_least_one("windows", windows)
        return cls(
            tuple(dict.fromkeys(wanted)),
            tuple(dict.fromkeys(_check_pool(each, config) for each in pools)),
            round_hop(config.n_ctx, hop_fraction, 1),
            windows,
            compat,
        )

    @property
    def num_layers(self) -> int:
        """Blocks that have to run."""
        return max(self.layers)

    def most_codes(self, config: JukeboxPriorConfig) -> int | None:
        """Return the codes of a recording that are used at most; None for all."""
        return None if self.windows is None else config.n_ctx + (self.windows - 1) * self.hop


@dataclass(frozen=True)
class JukeboxEmbeddings:
    """Result of `JukeboxPipeline.embed` for N recordings.

    Attributes:
        names: Names of the recordings.
        layers: Layers, in the order of the arrays.
        pooled: Per pooling: for `"mean"` float32 `[N, layers, hidden_size]`, else a list with one float32
            `[T, layers, hidden_size]` per recording. The last stretch of a recording may be shorter than the others.
        lengths: Codes that each recording was embedded from.
        codes_per_second: Rate of the codes.
    """

    names: list[str]
    layers: tuple[int, ...]
    pooled: dict[Pool, Any]
    lengths: list[int]
    codes_per_second: float

    @property
    def embeddings(self) -> Any:
        """The result of the first pooling, see `pooled`."""
        return next(iter(self.pooled.values()))

    def layer(self, layer: int) -> Any:
        """Return one layer of `embeddings`: `[N, hidden_size]`, or a list of `[T, hidden_size]`.

        Raises:
            ValueError: it is not one of `layers`.
        """
        if layer not in self.layers:
            raise ValueError(f"Layer {layer} was not embedded; this result has the layers {list(self.layers)}.")
        index = self.layers.index(layer)
        if isinstance(self.embeddings, list):
            return [frames[:, index] for frames in self.embeddings]
        return self.embeddings[:, index]


@torch.no_grad()
def embed_codes(
    prior: JukeboxPrior, codes: torch.Tensor, labels_at: LabelsAt, settings: EmbeddingSettings
) -> dict[Pool, np.ndarray]:
    """Return the pooled activations of one recording, from its codes `[T]`: see [`JukeboxEmbeddings`].

    Each window is a pass of its own, so that no recording depends on those beside it, to the bit. A code that lies in
    two windows is read from the first, where more codes come before it.
    """
    config = prior.config
    codes = codes[: settings.most_codes(config)]
    rate = config.codes_per_second
    pooled = {
        pool: _Pooling(pool, len(codes), len(settings.layers), config.hidden_size, rate) for pool in settings.pools
    }
    for window in plan_windows(len(codes), config.n_ctx, settings.hop, 0):
        labels = None if labels_at is None else labels_at(window.start).to(prior.device)
        inputs = codes[None, window.start : window.end].to(prior.device)
        states = prior.iter_hidden_states(inputs, labels=labels)
        for layer, hidden in enumerate(islice(states, settings.num_layers + 1)):
            if layer in settings.layers:
                new = hidden[0, window.context :].float()  # [t, hidden_size]
                for pooling in pooled.values():
                    pooling.add(settings.layers.index(layer), window, new)
    return {pool: pooling.result() for pool, pooling in pooled.items()}


def pool_ends(pool: Pool, num_codes: int, codes_per_second: float) -> list[int]:
    """Return the code at which each row of a pooling ends."""
    if pool == "mean":
        return [num_codes]
    if pool is None:
        return list(range(1, num_codes + 1))
    return stretch_ends(num_codes, codes_per_second * float(pool))


class _Pooling:
    """Means over stretches of codes, window by window."""

    def __init__(self, pool: Pool, num_codes: int, num_layers: int, width: int, codes_per_second: float) -> None:
        self.pool = pool
        self.ends = pool_ends(pool, num_codes, codes_per_second)
        counts = np.diff(self.ends, prepend=0).astype(np.float64)
        self.counts = counts[:, None, None]
        kept = np.float32 if pool is None else np.float64
        self.sums = np.zeros((len(self.ends), num_layers, width), kept)

    def add(self, layer: int, window: Window, states: torch.Tensor) -> None:
        """Add the states `[t, width]` of the new codes of a window."""
        first = start = window.start + window.context
        if self.pool is None:
            self.sums[start : window.end, layer] = states.cpu().numpy()
            return
        frame = int(np.searchsorted(self.ends, start, side="right"))
        while start < window.end:
            end = min(self.ends[frame], window.end)
            self.sums[frame, layer] += states[start - first : end - first].sum(0).cpu().numpy()
            start, frame = end, frame + 1

    def result(self) -> np.ndarray:
        means = self.sums if self.pool is None else (self.sums / self.counts).astype(np.float32)
        return means[0] if self.pool == "mean" else means


def pool_name(pool: Pool) -> str:
    """Return the name of a pooling in files and on the command line: `mean`, `code`, or `10s` for stretches of 10 s."""
    return "mean" if pool == "mean" else "code" if pool is None else f"{pool:g}s"


def stretch_ends(num_codes: int, codes_per_stretch: float) -> list[int]:
    """Return the end of each stretch of codes; a code belongs to the stretch in which it begins."""
    count = math.ceil(num_codes / codes_per_stretch)
    ends = [min(math.ceil((stretch + 1) * codes_per_stretch - 1e-9), num_codes) for stretch in range(count)]
    return [end for end, before in zip(ends, [0, *ends], strict=False) if end > before]


def collect(
    names: Sequence[str],
    results: Iterable[dict[Pool, np.ndarray]],
    lengths: Sequence[int],
    settings: EmbeddingSettings,
    codes_per_second: float,
) -> JukeboxEmbeddings:
    """Join the embeddings of several recordings."""
    by_pool: dict[Pool, list[np.ndarray]] = {pool: [] for pool in settings.pools}
    for result in results:
        for pool, array in result.items():
            by_pool[pool].append(array)
    pooled = {pool: np.stack(arrays) if pool == "mean" else arrays for pool, arrays in by_pool.items()}
    return JukeboxEmbeddings(list(names), settings.layers, pooled, list(lengths), codes_per_second)


def _check_pool(pool: Any, config: JukeboxPriorConfig) -> Pool:
    if pool is None or pool == "mean":
        return pool
    if isinstance(pool, str):
        raise ValueError(f"`pool` must be 'mean', a number of seconds or None, not {pool!r}.")
    seconds, shortest = number("pool", pool), 1 / config.codes_per_second
    if not shortest <= seconds < math.inf:
        raise ValueError(
            f"`pool` is {pool!r}, but one code takes {shortest:.4f} s; use more seconds, or None for codes."
        )
    return seconds
