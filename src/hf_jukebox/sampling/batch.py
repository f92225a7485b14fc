"""One batch of rows at one level, sampled window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..layers.quantizer import are_codes
from ..modeling_prior import DecodeState, JukeboxPrior
from .logits import sample_from_logits
from .options import SamplingSettings
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
    """Sample the codes `[B]` at `position` `[1]` of a window, from the codes `[B]` before it and `noise` `[B]`.

    Nothing here waits for the host and all shapes are fixed, so that `StepCompiler` can compile it.
    """
    return sample_from_logits(prior.step(state, previous, position), noise, settings)


@dataclass
class BatchTask:
    """Input of a `BatchSampler`.

    Args:
        codes: `[B, length]`, one row per song or segment; given codes lie at the front, the rest is filled in.
        num_given: Codes given, per row.
        hop: Codes from the start of one window to that of the next.
        noise: `[B, length]` uniform numbers, one per code.
        settings: Temperature and filters.
        upper_codes: `[B, ceil(length / upsampling_ratio)]` of the level above; None for a top prior.
        labels_at: Returns the label rows `[B, label_length]` of the window that starts at a code; None without labels.
    """

    codes: torch.Tensor
    num_given: Sequence[int]
    hop: int
    noise: torch.Tensor
    settings: SamplingSettings
    upper_codes: torch.Tensor | None = None
    labels_at: Callable[[int], torch.Tensor] | None = None

    @property
    def length(self) -> int:
        return self.codes.shape[1]


@dataclass(frozen=True)
class Snapshot:
    """The complete state of a batch between two codes.

    Args:
        codes: Codes that each row has, `[B, filled]` on the CPU.
        tensors: Tensors of the window in progress, on the CPU, batch first; empty between two windows.
    """

    codes: torch.Tensor
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def filled(self) -> int:
        """Codes that each row has."""
        return self.codes.shape[1]

    def __getitem__(self, rows: slice | list[int]) -> Snapshot:
        return Snapshot(self.codes[rows], {name: tensor[rows].clone() for name, tensor in self.tensors.items()})


def is_snapshot_of(snapshot: Snapshot, prior: JukeboxPrior, batch_size: int, length: int) -> bool:
    """Return whether a prior can resume from a snapshot of `batch_size` rows of `length` codes."""
    codes = snapshot.codes
    if codes.shape[0] != batch_size or codes.dim() != 2 or codes.shape[1] > length:
        return False
    if not are_codes(codes, prior.config.codebook_size):
        return False
    if not snapshot.tensors:
        return True
    wanted = {
        name: tensor.shape for name, tensor in prior.init_state(batch_size, torch.device("meta")).tensors().items()
    }
    are_floats = all(tensor.is_floating_point() for tensor in snapshot.tensors.values())
    return are_floats and wanted == {name: tensor.shape for name, tensor in snapshot.tensors.items()}


class BatchSampler:
    """Sampler of a batch. Iterating samples one code of every row at a time, and yields the codes each row has.

    Between two codes the complete state is `task.codes`, `filled` and `state`. A sampler that starts from a `snapshot`
    continues with the same bits: it restores the caches of the window, because recomputing them in one pass is not
    bit-exact.
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
        snapshot = Snapshot(task.codes[:, : min(task.num_given)]) if snapshot is None else snapshot
        self.filled = snapshot.filled
        task.codes[:, : self.filled] = snapshot.codes
        self.state: DecodeState = prior.init_state(task.codes.shape[0])
        self._in_window = bool(snapshot.tensors)
        if self._in_window:
            for name, tensor in self.state.tensors().items():
                tensor.copy_(snapshot.tensors[name])

    def snapshot(self) -> Snapshot:
        """Copy the state of the batch to the CPU; valid between two codes, and after an error."""
        tensors = self.state.tensors().items() if self._in_window else ()
        return Snapshot(
            self.task.codes[:, : self.filled].to("cpu", copy=True),
            {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors},
        )

    def __iter__(self) -> Iterator[int]:
        for window in plan_windows(self.task.length, self.prior.config.n_ctx, self.task.hop, self.filled):
            yield from self._sample_window(window)

    def _sample_window(self, window: Window) -> Iterator[int]:
        task, codes = self.task, self.task.codes
        if not self._in_window:
            with torch.inference_mode():
                self._prefill(window)
            self._in_window = True
        num_given, most_given = torch.tensor(task.num_given, device=codes.device), max(task.num_given)
        index = torch.arange(window.end - window.start, device=codes.device)
        noise = task.noise[:, window.start : window.end].T.contiguous()  # [positions, B]
        previous = codes[:, max(window.start + window.context - 1, 0)].contiguous()
        for position in range(window.context, window.end - window.start):
            at = window.start + position
            with torch.inference_mode():
                here = index[position : position + 1]
                previous = self.sample_code(self.prior, self.state, previous, here, noise[position], task.settings)
                if at < most_given:  # a song with a longer prompt than the others keeps its own codes
                    previous = torch.where(num_given > at, codes[:, at], previous)
                codes[:, at] = previous
            self.filled = at + 1
            self._in_window = self.filled < window.end
            yield self.filled

    def _prefill(self, window: Window) -> None:
        task = self.task
        upper = None
        if task.upper_codes is not None:
            upper = task.upper_codes[:, window.upper(self.prior.config.upsampling_ratio)]
        labels = None if task.labels_at is None else task.labels_at(window.start)
        context = task.codes[:, window.start : window.start + window.context]
        self.prior.prefill(self.state, context, upper, labels)
