"""Sampling from one prior and scoring with it, without a pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..layers.float32 import without_autocast
from ..modeling_prior import JukeboxPrior, bits_of, check_codes
from .batch import BatchSampler, BatchTask
from .logits import uniform_noise
from .options import SamplingSettings
from .step_runner import StepRunner
from .values import at_least_one, whole_number
from .windows import plan_windows, round_hop

Labels = torch.Tensor | Callable[[int], torch.Tensor] | None
"""Rows `[B, label_length]` for every window, or a function from a window's first code to its rows."""


def sample_codes(
    prior: JukeboxPrior,
    length: int,
    *,
    prefix: torch.Tensor | None = None,
    upper_codes: torch.Tensor | None = None,
    labels: Labels = None,
    batch_size: int | None = None,
    seed: int = 0,
    settings: SamplingSettings | None = None,
    hop: int | None = None,
    steps: StepRunner | None = None,
) -> torch.Tensor:
    """Sample codes from one prior, window by window.

    Args:
        length: Codes per row, `prefix` included.
        prefix: Codes `[B, k]` that the rows begin with, k up to `length`.
        upper_codes: Codes of the level above, `[B, ceil(length / upsampling_ratio)]` or more; required by an upsampler.
        labels: Rows `[B, label_length]`, or a function that returns them for the window that starts at a code;
            required by a prior that has labels (see [`~sampling.window_labels.WindowLabels`]).
        batch_size: Number of rows; by default that of `prefix` or `upper_codes`, else one.
        seed: Row `n` uses the random numbers of song `n` under this seed, a whole number of at least 0.
        settings: Temperature and filters; the defaults of [`~sampling.options.SamplingSettings`] otherwise.
        hop: Codes from the start of one window to that of the next, from 1 to `n_ctx`, rounded to whole codes of the
            level above; half a window by default.
        steps: Source of the decode steps; `StepRunner(compiled=True)` compiles them.

    Returns:
        int64 `[B, length]` on the prior's device.

    Raises:
        ValueError: an input is missing, of the wrong shape or out of range, or the numbers of rows differ.
    """
    config, device = prior.config, prior.device
    for name, value in (("length", length), ("seed", seed)):
        if whole_number(name, value) < 0:
            raise ValueError(f"`{name}` must be at least 0, not {value}.")
    rows = _num_rows(prior, prefix, upper_codes, batch_size)
    if prefix is not None and prefix.shape[1] > length:
        raise ValueError(
            f"`prefix` has {prefix.shape[1]} codes, but `length` is {length}, which includes them; increase it."
        )
    num_given = 0 if prefix is None else prefix.shape[1]
    codes = torch.zeros(rows, length, dtype=torch.long, device=device)
    if prefix is not None:
        codes[:, :num_given] = prefix
    task = BatchTask(
        codes=codes,
        num_given=[num_given] * rows,
        hop=_checked_hop(config, hop, default=config.n_ctx // 2),
        noise=uniform_noise([(seed, row) for row in range(rows)], config.level, length).to(device),
        settings=SamplingSettings() if settings is None else settings,
        upper_codes=None if upper_codes is None else upper_codes.to(device),
        labels_at=_labels_at(labels, device),
    )
    with without_autocast(device.type):
        for _ in BatchSampler(prior, task, steps=steps):
            pass
    return task.codes


@dataclass(frozen=True)
class CodeScores:
    """Likelihood of each code `[B, T]`, given the codes before it in its window.

    Attributes:
        bits: Surprise, `-log2 p` of the code, float32.
        ranks: Number of codes that are likelier, int64: 0 for the likeliest.
        entropy: Bits that a code was expected to cost before it was read, float32.
    """

    bits: torch.Tensor
    ranks: torch.Tensor
    entropy: torch.Tensor


def score_codes(
    prior: JukeboxPrior,
    codes: torch.Tensor,
    *,
    upper_codes: torch.Tensor | None = None,
    labels: Labels = None,
    hop: int | None = None,
) -> torch.Tensor:
    """Return the bits of each code, `-log2 p`, given the codes before it in its window.

    In a one-sequence prior, `p` is normalised over the codes alone, as in sampling; `code_loss` also counts the
    probability of characters.

    Args:
        codes: `[B, T]`, of any length.
        upper_codes, labels: As in `sample_codes`.
        hop: As in `sample_codes`; a whole window by default. Where windows overlap, a code is scored in the first
            window that holds it.

    Returns:
        float32 `[B, T]` on the prior's device.

    Raises:
        ValueError: an input is missing, of the wrong shape or out of range.
    """
    with torch.no_grad(), without_autocast(prior.device.type):
        predicted = _predictions(prior, codes, upper_codes, labels, hop)
        return torch.cat([bits_of(logits, targets) for logits, targets in predicted], dim=1)


def rate_codes(
    prior: JukeboxPrior,
    codes: torch.Tensor,
    *,
    upper_codes: torch.Tensor | None = None,
    labels: Labels = None,
    hop: int | None = None,
) -> CodeScores:
    """Return bits, rank and expected bits of each code; see `score_codes` for the arguments and errors."""
    scores = []
    with torch.no_grad(), without_autocast(prior.device.type):
        for logits, targets in _predictions(prior, codes, upper_codes, labels, hop):
            likelier = logits > logits.gather(-1, targets[..., None])
            log_p = logits.log_softmax(-1)
            entropy = -(log_p.exp() * log_p).sum(-1) / math.log(2)
            scores.append((bits_of(logits, targets), likelier.sum(-1), entropy))
    return CodeScores(*(torch.cat(parts, dim=1) for parts in zip(*scores, strict=True)))


def _predictions(
    prior: JukeboxPrior, codes: torch.Tensor, upper_codes: torch.Tensor | None, labels: Labels, hop: int | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the logits `[B, t, codebook_size]` and the codes `[B, t]` that each window adds."""
    config, device = prior.config, prior.device
    hop = _checked_hop(config, hop, default=config.n_ctx)
    check_codes("codes", codes, config.codebook_size)
    if upper_codes is not None:
        check_codes("upper_codes", upper_codes, config.codebook_size)
    codes, labels_at = codes.to(device, torch.long), _labels_at(labels, device)
    if not codes.shape[1]:  # no window
        yield torch.zeros(*codes.shape, config.codebook_size, device=device), codes
    for window in plan_windows(codes.shape[1], config.n_ctx, hop, 0, config.upsampling_ratio):
        inputs = codes[:, window.start : window.end]
        upper = None
        if upper_codes is not None:
            upper = upper_codes[:, window.upper(config.upsampling_ratio)].to(device)
        logits = prior(inputs, upper, None if labels_at is None else labels_at(window.start)).logits
        yield logits[:, window.context :], inputs[:, window.context :]


def _num_rows(
    prior: JukeboxPrior, prefix: torch.Tensor | None, upper_codes: torch.Tensor | None, batch_size: int | None
) -> int:
    """Return the number of rows to sample, which must agree; codes that are given are checked first."""
    given = {} if batch_size is None else {"batch_size": at_least_one("batch_size", batch_size)}
    for name, codes in (("prefix", prefix), ("upper_codes", upper_codes)):
        if codes is not None:
            check_codes(name, codes, prior.config.codebook_size)
            given[name] = codes.shape[0]
    if len(set(given.values())) > 1:
        numbers = " and ".join(f"{number} by `{name}`" for name, number in given.items())
        raise ValueError(f"The numbers of rows differ: {numbers}; give as many everywhere.")
    return at_least_one("batch_size", next(iter(given.values()), 1))


def _checked_hop(config: JukeboxPriorConfig, hop: int | None, default: int) -> int:
    """Return the hop in whole codes of the level above, since a window sees those that cover it exactly.

    Raises:
        ValueError: it is longer than a window, so that codes between two windows would be left out, or below 1.
    """
    hop = default if hop is None else hop
    if not 1 <= whole_number("hop", hop) <= config.n_ctx:
        raise ValueError(f"`hop` must lie between 1 and the window of this prior, {config.n_ctx} codes, but is {hop}.")
    return round_hop(config.n_ctx, hop / config.n_ctx, config.upsampling_ratio)


def _labels_at(labels: Labels, device: torch.device) -> Callable[[int], torch.Tensor] | None:
    if labels is None:
        return None
    if callable(labels):
        return lambda start: labels(start).to(device)
    rows = labels.to(device)
    return lambda start: rows
