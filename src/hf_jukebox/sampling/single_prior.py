"""Sampling from one prior and scoring with it, without a pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..configuration_jukebox import JukeboxPriorConfig
from ..modeling_prior import JukeboxPrior, bits_of
from .batch import BatchSampler, BatchTask
from .logits import uniform_noise
from .options import SamplingSettings
from .step_runner import StepRunner
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
    batch_size: int = 1,
    seed: int = 0,
    settings: SamplingSettings | None = None,
    hop: int | None = None,
    steps: StepRunner | None = None,
) -> torch.Tensor:
    """Sample codes from one prior, window by window.

    Args:
        length: Codes per row, `prefix` included.
        prefix: Codes `[B, k]` that the rows begin with.
        upper_codes: Codes of the level above, `[B, ceil(length / upsampling_ratio)]` or more; required by an upsampler.
        labels: Rows `[B, label_length]`, or a function that returns them for the window that starts at a code;
            required by a prior that has labels (see [`~sampling.window_labels.WindowLabels`]).
        batch_size: Number of rows; with `prefix` or `upper_codes`, theirs is used.
        seed: Row `n` uses the random numbers of song `n` under this seed.
        settings: Temperature and filters; the defaults of [`~sampling.options.SamplingSettings`] otherwise.
        hop: Codes from the start of one window to that of the next, rounded to whole codes of the level above; half a
            window by default.
        steps: Source of the decode steps; `StepRunner(compiled=True)` compiles them.

    Returns:
        int64 `[B, length]` on the prior's device.

    Raises:
        ValueError: an input is missing or of the wrong shape.
    """
    config, device = prior.config, prior.device
    given = next((codes for codes in (prefix, upper_codes) if codes is not None), None)
    rows = batch_size if given is None else given.shape[0]
    num_given = 0 if prefix is None else prefix.shape[1]
    codes = torch.zeros(rows, length, dtype=torch.long, device=device)
    if prefix is not None:
        codes[:, :num_given] = prefix
    task = BatchTask(
        codes=codes,
        num_given=[num_given] * rows,
        hop=_whole_hop(config, config.n_ctx // 2 if hop is None else hop),
        noise=uniform_noise([(seed, row) for row in range(rows)], config.level, length).to(device),
        settings=SamplingSettings() if settings is None else settings,
        upper_codes=None if upper_codes is None else upper_codes.to(device),
        labels_at=_labels_at(labels, device),
    )
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
        ValueError: an input is missing or of the wrong shape.
    """
    with torch.inference_mode():
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
    with torch.inference_mode():
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
    codes, labels_at = codes.to(device), _labels_at(labels, device)
    hop, ratio = _whole_hop(config, config.n_ctx if hop is None else hop), config.upsampling_ratio
    for window in plan_windows(codes.shape[1], config.n_ctx, hop, 0, ratio):
        inputs = codes[:, window.start : window.end]
        upper = None
        if upper_codes is not None:
            upper = upper_codes[:, window.upper(ratio)].to(device)
        logits = prior(inputs, upper, None if labels_at is None else labels_at(window.start)).logits
        yield logits[:, window.context :], inputs[:, window.context :]


def _whole_hop(config: JukeboxPriorConfig, hop: int) -> int:
    """Return a hop rounded to whole codes of the level above, since a window sees those that cover it exactly."""
    return round_hop(config.n_ctx, hop / config.n_ctx, config.upsampling_ratio)


def _labels_at(labels: Labels, device: torch.device) -> Callable[[int], torch.Tensor] | None:
    if labels is None:
        return None
    if callable(labels):
        return lambda start: labels(start).to(device)
    rows = labels.to(device)
    return lambda start: rows
