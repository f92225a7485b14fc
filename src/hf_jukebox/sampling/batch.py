"""One batch of rows at one level, sampled window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..allocator import is_out_of_memory
from ..layers.quantizer import are_codes
from ..modeling_prior import DecodeState, JukeboxPrior
from .avoiding import Guard
from .options import SamplingSettings
from .step_runner import StepRunner
from .windows import Window, plan_windows


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
        guard: Guard that excludes codes of a catalogue; None for free sampling.
    """

    codes: torch.Tensor
    num_given: Sequence[int]
    hop: int
    noise: torch.Tensor
    settings: SamplingSettings
    upper_codes: torch.Tensor | None = None
    labels_at: Callable[[int], torch.Tensor] | None = None
    guard: Guard | None = None

    @property
    def length(self) -> int:
        return self.codes.shape[1]


@dataclass(frozen=True)
class Snapshot:
    """The complete state of a batch between two codes.

    Args:
        codes: Codes that each row has, `[B, filled]` on the CPU.
        tensors: Tensors of the window in progress, on the CPU, batch first; empty between two windows.
        copied: Event of the device after which both are complete; None if they are.
    """

    codes: torch.Tensor
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    copied: torch.cuda.Event | None = None

    @property
    def filled(self) -> int:
        """Codes that each row has."""
        return self.codes.shape[1]

    def wait(self) -> None:
        """Wait for the device to copy everything."""
        if self.copied is not None:
            self.copied.synchronize()

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
    """Sampler of a batch. Iterating samples the codes of every row, and yields one by one how many each row has.

    Between two codes the complete state is `codes()`, `filled` and `state`, which may hold later codes too: what it
    holds of those is written again before it is read. A sampler that starts from a `snapshot`
    continues with the same bits: it restores the caches of the window, because recomputing them in one pass is not
    bit-exact. On CUDA the codes may still be in the making when they are counted (see `StepGraph`).

    Args:
        steps: Source of the steps; used by one sampler at a time.
    """

    def __init__(
        self, prior: JukeboxPrior, task: BatchTask, snapshot: Snapshot | None = None, steps: StepRunner | None = None
    ) -> None:
        self.prior = prior
        self.task = task
        if snapshot is None or snapshot.filled < min(task.num_given):  # of a batch that had shorter prompts too
            snapshot = Snapshot(task.codes[:, : min(task.num_given)])
        self.filled = snapshot.filled
        task.codes[:, : self.filled] = snapshot.codes
        self._step = (steps or StepRunner()).get(
            prior, task.codes.shape[0], task.settings, is_guarded=task.guard is not None
        )
        if task.guard is not None:
            assert self._step.buffers.exclusion is not None
            task.guard.begin(snapshot.codes, self._step.buffers.exclusion)
        self.state: DecodeState = self._step.state
        self._num_given = torch.tensor(task.num_given, device=task.codes.device)[:, None]
        self._window: Window | None = None  # the one whose steps are in the buffers
        self._num_collected = self.filled  # codes that are in task.codes
        self._in_window = bool(snapshot.tensors)
        if self._in_window:
            for name, tensor in self.state.tensors().items():
                tensor.copy_(snapshot.tensors[name])

    def codes(self) -> torch.Tensor:
        """Return the codes that each row has, `[B, filled]`."""
        if self._window is not None:
            first, last = (end - self._window.start for end in (self._num_collected, self.filled))
            self.task.codes[:, self._num_collected : self.filled] = self._step.buffers.codes[first:last].T
        self._num_collected = self.filled
        return self.task.codes[:, : self.filled]

    def snapshot(self, in_background: bool = False) -> Snapshot:
        """Copy the state of the batch to the CPU; valid between two codes, and after an error.

        Args:
            in_background: On CUDA, return before the tensors are copied, which is when `Snapshot.wait` returns. They
                are those of this moment nevertheless: the device copies them before it samples the next code.
        """
        codes, tensors = self.codes(), self.state.tensors() if self._in_window else {}
        begins = in_background and _is_on_cuda(codes)
        copy = _begin_copy if begins else _copy
        copies = {name: copy(tensor.detach()) for name, tensor in tensors.items()}
        return Snapshot(copy(codes), copies, _record_event(codes.device) if begins else None)

    def __iter__(self) -> Iterator[int]:
        config, task = self.prior.config, self.task
        for window in plan_windows(task.length, config.n_ctx, task.hop, self.filled, config.upsampling_ratio):
            yield from self._sample_window(window)

    def _sample_window(self, window: Window) -> Iterator[int]:
        guard, num_given = self.task.guard, np.asarray(self.task.num_given)
        prefilled = -1 if self._in_window else self.filled
        with torch.inference_mode():
            if not self._in_window:
                self._prefill(window, self.filled)
            self._begin_steps(window)
        self._in_window = True
        while self.filled < window.end:
            first = self.filled
            with torch.inference_mode():
                if first != prefilled:
                    # A row whose prompt ends here was stepped through it; alone it would be prefilled up to here.
                    for row in np.flatnonzero(num_given == first):
                        self._prefill(window, first, slice(row, row + 1))
                if guard is not None:
                    guard.exclude(num_given <= first)
                num_sampled = self._step.run()
                if guard is not None:
                    guard.take(self._step.buffers.previous, first)
            for filled in range(first + 1, min(first + num_sampled, window.end) + 1):
                self.filled = filled
                self._in_window = filled < window.end
                yield filled
        self.codes()

    def _prefill(self, window: Window, end: int, rows: slice = slice(None)) -> None:
        """Prefill the codes of a window before `end`."""
        task = self.task
        upper = None
        if task.upper_codes is not None:
            upper = task.upper_codes[rows, window.upper(self.prior.config.upsampling_ratio)]
        labels = None if task.labels_at is None else task.labels_at(window.start)[rows]
        self.prior.prefill(self.state.of_rows(rows), task.codes[rows, window.start : end], upper, labels)

    def _begin_steps(self, window: Window) -> None:
        task, span = self.task, slice(window.start, window.end)
        positions = torch.arange(window.start, window.end, device=task.codes.device)
        self._window = window
        self._step.buffers.begin(
            window.context,
            previous=task.codes[:, max(window.start + window.context - 1, 0)],
            noise=task.noise[:, span],
            # A row with a longer prompt than the others keeps its own codes.
            given=torch.where(positions < self._num_given, task.codes[:, span], -1),
            temperature=task.settings.temperature,
        )


def _is_on_cuda(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cuda"


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy on the CPU."""
    return tensor.to("cpu", copy=True)


def _begin_copy(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU that the device fills in its turn; a complete copy if no memory can be pinned."""
    try:
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return _copy(tensor)
    return copy.copy_(tensor, non_blocking=True)


def _record_event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
