"""Drawing the codes of one level, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..modeling_prior import DecodeState, JukeboxPrior
from .logits import SamplingSettings, draw
from .windows import Window, plan_windows

SampleCode = Callable[
    [JukeboxPrior, DecodeState, torch.Tensor, torch.Tensor, torch.Tensor, SamplingSettings], torch.Tensor
]


def sample_code(
    prior: JukeboxPrior,
    state: DecodeState,
    previous: torch.Tensor,
    position: torch.Tensor,
    noise: torch.Tensor,
    settings: SamplingSettings,
) -> torch.Tensor:
    """Draw the codes `[B]` at `position` `[1]` of a window, from those before, `[B]`, and one random number each.

    Nothing in here waits for the host, and all shapes are fixed: it is what `StepCompiler` compiles.
    """
    return draw(prior.step(state, previous, position), noise, settings)


@dataclass
class BatchTask:
    """What to draw at one level.

    Args:
        codes: `[B, total]`, a row a song or segment; the codes that exist lie at the front, the rest are filled in.
        known: How many codes exist, one number a row.
        hop: Codes from one window's start to the next.
        noise: `[B, total]` uniform numbers, one a code.
        settings: Temperature and filters.
        upper_codes: `[B, ceil(total / upsampling_ratio)]` of the level above; None for a top prior.
        labels_at: Label rows `[B, label_length]` of the window that starts at a code; None without labels.
    """

    codes: torch.Tensor
    known: Sequence[int]
    hop: int
    noise: torch.Tensor
    settings: SamplingSettings
    upper_codes: torch.Tensor | None = None
    labels_at: Callable[[int], torch.Tensor] | None = None

    @property
    def total(self) -> int:
        return self.codes.shape[1]


@dataclass(frozen=True)
class Snapshot:
    """Where a group of rows stands between two codes: all that the next ones depend on.

    Args:
        codes: What there is of each row, `[B, filled]` on the CPU.
        tensors: Of the window in progress, on the CPU, each with the batch in front; empty between two windows.
    """

    codes: torch.Tensor
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def filled(self) -> int:
        """How many codes of each row there are."""
        return self.codes.shape[1]

    def __getitem__(self, rows: slice | list[int]) -> Snapshot:
        return Snapshot(self.codes[rows], {name: tensor[rows].clone() for name, tensor in self.tensors.items()})


def is_snapshot_of(snapshot: Snapshot, prior: JukeboxPrior, batch_size: int, total: int) -> bool:
    """Return whether a prior can go on from a snapshot of `batch_size` rows that end after `total` codes."""
    codes = snapshot.codes
    if codes.shape[0] != batch_size or codes.dim() != 2 or codes.shape[1] > total:
        return False
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < prior.config.codebook_size:
        return False
    if not snapshot.tensors:
        return True
    wanted = {
        name: tensor.shape for name, tensor in prior.init_state(batch_size, torch.device("meta")).tensors().items()
    }
    are_floats = all(tensor.is_floating_point() for tensor in snapshot.tensors.values())
    return are_floats and wanted == {name: tensor.shape for name, tensor in snapshot.tensors.items()}


class BatchSampler:
    """Draws a level's codes. Iterating draws one code for all rows at a time, and yields how many are done.

    Between two codes everything that the next one depends on is in `task.codes`, `filled` and `state`. From a
    `snapshot` another sampler goes on with the very same codes: it restores the window's caches, since filling them
    anew in one pass would not give their last bits.
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        task: BatchTask,
        snapshot: Snapshot | None = None,
        sample_code: SampleCode = sample_code,
    ) -> None:
        self.prior = prior
        self.task = task
        self.sample_code = sample_code
        snapshot = Snapshot(task.codes[:, : min(task.known)]) if snapshot is None else snapshot
        self.filled = snapshot.filled
        task.codes[:, : self.filled] = snapshot.codes
        self.state: DecodeState = prior.init_state(task.codes.shape[0])
        self._in_window = bool(snapshot.tensors)
        if self._in_window:
            for name, tensor in self.state.tensors().items():
                tensor.copy_(snapshot.tensors[name])

    @property
    def windows(self) -> list[Window]:
        """The windows that are left to draw; the first one may be in progress."""
        return plan_windows(self.task.total, self.prior.config.n_ctx, self.task.hop, self.filled)

    def snapshot(self) -> Snapshot:
        """A copy of where the level stands; it may be taken between two codes, and after an error."""
        tensors = self.state.tensors().items() if self._in_window else ()
        return Snapshot(
            self.task.codes[:, : self.filled].to("cpu", copy=True),
            {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors},
        )

    def __iter__(self) -> Iterator[int]:
        for window in self.windows:
            yield from self._sample_window(window)

    def _sample_window(self, window: Window) -> Iterator[int]:
        task, codes = self.task, self.task.codes
        if not self._in_window:
            with torch.inference_mode():
                self._begin(window)
            self._in_window = True
        known, longest = torch.tensor(task.known, device=codes.device), max(task.known)
        index = torch.arange(window.end - window.start, device=codes.device)
        noise = task.noise[:, window.start : window.end].T.contiguous()  # [positions, B]
        previous = codes[:, max(window.start + window.known - 1, 0)].contiguous()
        for position in range(window.known, window.end - window.start):
            at = window.start + position
            with torch.inference_mode():
                here = index[position : position + 1]
                previous = self.sample_code(self.prior, self.state, previous, here, noise[position], task.settings)
                if at < longest:  # a song whose prompt is longer than the others' keeps its own codes
                    previous = torch.where(known > at, codes[:, at], previous)
                codes[:, at] = previous
            self.filled = at + 1
            self._in_window = self.filled < window.end
            yield self.filled

    def _begin(self, window: Window) -> None:
        task, ratio = self.task, self.prior.config.upsampling_ratio
        upper = None
        if task.upper_codes is not None:
            upper = task.upper_codes[:, window.start // ratio : -(-window.end // ratio)]
        labels = None if task.labels_at is None else task.labels_at(window.start)
        known = task.codes[:, window.start : window.start + window.known]
        self.prior.prefill(self.state, known, upper, labels)
