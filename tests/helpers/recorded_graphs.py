"""CUDA graphs on a CPU: operators recorded once and repeated on the same tensors, without the Python around them."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from hf_jukebox.sampling import step_graph, step_runner


class RecordedGraph(TorchDispatchMode):
    """Records every operator, and repeats them as a CUDA graph does: arguments that are not tensors are fixed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        assert func is not torch.ops.aten._local_scalar_dense.default, "a captured step waits for the device"
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        replayed: dict[int, Any] = {}

        def current(value: Any) -> Any:
            return replayed.get(id(value), value)

        for func, args, kwargs, recorded in self.calls:
            result = func(*tree_map(current, args), **tree_map(current, kwargs))
            for old, new in zip(_tensors(recorded), _tensors(result), strict=True):
                replayed[id(old)] = new


class Event:
    """A point in the stream of a device; counts the waits for it."""

    waits = 0

    def record(self, stream: Any) -> None: ...

    def synchronize(self) -> None:
        Event.waits += 1


def capture_on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """Capture every step as on CUDA; return the list of the graphs made so far."""
    graphs: list[RecordedGraph] = []
    devices: list[torch.device] = []

    @contextmanager
    def on_device(device: torch.device) -> Any:
        devices.append(device)
        yield
        devices.pop()

    @contextmanager
    def graph(recorded: RecordedGraph, **options: Any) -> Any:
        assert isinstance(options.pop("stream"), Stream) and options == {"capture_error_mode": "thread_local"}
        assert devices == [torch.device("cpu")]  # the device of the prior, whichever is the current one
        graphs.append(recorded)
        with recorded:
            yield

    class Stream:
        def wait_stream(self, other: Stream) -> None: ...

    monkeypatch.setattr(step_runner, "can_be_captured", lambda prior: True)
    for name, replacement in {
        "CUDAGraph": RecordedGraph,
        "graph": graph,
        "Stream": Stream,
        "current_stream": lambda device=None: Stream(),
        "device": on_device,
        "stream": lambda stream: nullcontext(),
        "Event": Event,
    }.items():
        monkeypatch.setattr(step_graph.torch.cuda, name, replacement)
    return graphs


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for each in value for tensor in _tensors(each)] if isinstance(value, (tuple, list)) else []
