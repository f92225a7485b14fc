"""The content of `request.json`: every step of a run with all its settings, and the model that sampled it.

The annotations declare the values that a file may hold; `schema` checks them when a file is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from safetensors import safe_open
from torch import nn

from ..files.atomic import replacing
from ..files.text import listed
from ..loading.adapter_files import AdapterSource
from ..modeling_prior import JukeboxPrior
from ..sampling.request import MOST_CODES, MOST_LEVELS, MOST_SONGS, SamplingRequest
from .names import check_song_folder

Action = Literal["sample", "continue", "upsample", "pick"]

FORMAT_VERSION = 3  # 3 added the seed and the adapters
_VALUES_PER_TENSOR = 64


@dataclass(frozen=True)
class AdapterRecord:
    """A low-rank adapter on a prior of a step.

    Args:
        level: Level of the prior.
        name: Its name in the pipeline.
        source, subfolder, revision, fingerprint: See [`~loading.adapter_files.AdapterSource`].
        scale: Its strength.
        is_merged: True if it was merged into the weights.
    """

    level: Annotated[int, Field(ge=0, lt=MOST_LEVELS)]
    name: Annotated[str, Field(pattern=r"^\w+$", max_length=256)]
    source: Annotated[str, Field(max_length=4096)]
    subfolder: Annotated[str, Field(max_length=4096)]
    revision: Annotated[str | None, Field(pattern=r"^[0-9a-f]{40}$")]
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]+$", max_length=64)]
    scale: Annotated[float, Field(ge=-1e6, le=1e6)]
    is_merged: bool

    @property
    def effect(self) -> tuple[int, str, float]:
        """Level, weights and scale, on which the codes depend."""
        return self.level, self.fingerprint, self.scale

    @property
    def title(self) -> str:
        """The adapter as `--lora` takes it."""
        return f"{'/'.join(filter(None, (self.source, self.subfolder)))}:{self.scale:g}"


_Dtype = Annotated[str, Field(pattern=r"^(torch\.)?[a-z0-9_]{1,32}$")]


@dataclass(frozen=True)
class PriorRecord:
    """The blocks of a prior of a step.

    Args:
        dtype: Their precision.
        blocks: Fingerprint of their weights in that precision; None where there is none, as of quantised ones, or of
            those with an adapter merged into them.
    """

    dtype: _Dtype
    blocks: Annotated[str | None, Field(pattern=r"^[0-9a-f]+$", max_length=64)] = None


@dataclass(frozen=True)
class ModelRecord:
    """The model of a step.

    Args:
        source: Folder or repository that it was loaded from.
        dtype: Precision of the priors' blocks, that of the first one if they differ.
        sampling_rate, hop_lengths: Settings of the VQ-VAE, hops finest first.
        parts: Fingerprints of the parts by name, such as `prior_2`, without their adapters.
        adapters: Adapters in use.
        is_compiled: True if the decode step was compiled, which decides the last bits of its sums.
        priors: Blocks of the priors by name; empty in records of earlier versions.
    """

    source: Annotated[str | None, Field(max_length=4096)]
    dtype: _Dtype
    sampling_rate: Annotated[int, Field(ge=1, le=2**20)]
    hop_lengths: Annotated[list[Annotated[int, Field(ge=1, le=2**24)]], Field(min_length=1, max_length=MOST_LEVELS)]
    parts: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=64)]], Field(max_length=64)
    ]
    adapters: Annotated[list[AdapterRecord], Field(max_length=256)] = field(default_factory=list)
    is_compiled: bool = False
    priors: Annotated[dict[Annotated[str, Field(max_length=64)], PriorRecord], Field(max_length=64)] = field(
        default_factory=dict
    )

    @property
    def precisions(self) -> dict[str, str]:
        """Precision of each prior's blocks by name; that of all of them where a record has no more."""
        names = self.priors or [name for name in self.parts if name.startswith("prior_")]
        dtypes = {name: self.priors[name].dtype if self.priors else self.dtype for name in names}
        return {name: dtype.removeprefix("torch.") for name, dtype in dtypes.items()}


@dataclass(frozen=True)
class SongFolder:
    """Run folder of some songs of a batch, with their length in top-level codes and their title.

    Raises:
        ValueError: the name would lead out of the folder of the batch, or is one that a run uses itself.
    """

    name: str
    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)]
    top_codes: Annotated[int, Field(ge=1, le=MOST_CODES)]
    title: str = ""

    def __post_init__(self) -> None:
        check_song_folder(self.name)


@dataclass(frozen=True)
class RunStep:
    """One command of a run: the first sampling, a continuation, a pick, the upsampling.

    The field names are the keys of `request.json`.

    Args:
        action: `"sample"`, `"continue"`, `"upsample"` or `"pick"`.
        request: Request that the step samples.
        known: Codes that exist before the step, per level (finest first) and song.
        rows: Song of the previous step that each song continues.
        model: Model that samples it.
        begun: Time of its start, ISO 8601.
        folders: Folder of each song in a batch of requests; empty otherwise.
    """

    action: Action
    request: SamplingRequest
    known: list[list[Annotated[int, Field(ge=0)]]]
    rows: list[Annotated[int, Field(ge=0)]]
    model: ModelRecord
    begun: Annotated[str, Field(max_length=64)]
    folders: Annotated[list[SongFolder], Field(max_length=MOST_SONGS)]

    @classmethod
    def now(
        cls,
        action: Action,
        request: SamplingRequest,
        known: Sequence[Sequence[int]],
        rows: Sequence[int],
        model: ModelRecord,
        folders: Sequence[SongFolder] = (),
    ) -> RunStep:
        """Make a step that starts now."""
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(action, request, [list(level) for level in known], list(rows), model, begun, list(folders))


def weights_fingerprint(model: nn.Module, folder: Path | None = None, unused: tuple[str, ...] = ()) -> str:
    """Return a hash of a model's weights, the same in every precision and on every device.

    It covers samples of the tensors that stay in float32 in half precision and under quantisation: embeddings, norms,
    codebooks.

    Args:
        folder: Folder of the weights of a model that has none in memory.
        unused: Beginnings of the names of tensors to leave out.
    """
    kept = tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    tensors = {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    if (adapters := getattr(model, "adapters", None)) is not None:
        tensors |= adapters.tables  # the prior's own, without what the adapters add
    tensors = {
        name: tensor
        for name, tensor in sorted(tensors.items())
        if any(part in kept for part in name.split(".")) and tensor.is_floating_point() and tensor.numel()
        if ".lora_" not in name and not name.startswith(unused)
    }
    if folder is not None and any(tensor.is_meta for tensor in tensors.values()):
        tensors = dict(_read_stored(folder, tensors))
    shapes = [(name, list(tensors[name].shape)) for name in sorted(tensors)]
    samples = [
        tensors[name].flatten()[:: -(-tensors[name].numel() // _VALUES_PER_TENSOR)].float() for name, _ in shapes
    ]
    values = torch.cat(samples).cpu().numpy().tobytes()
    return hashlib.sha256(json.dumps(shapes).encode() + values).hexdigest()[:16]


def _read_stored(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the named tensors of a folder of weights."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in set(names).intersection(file.keys()):
                yield name, file.get_tensor(name)


def check_model(recorded: ModelRecord, parts: Mapping[str, str], folder: Path) -> None:
    """Refuse a model that is not the recorded one.

    Raises:
        ValueError: parts differ; the message names them.
    """
    others = [name for name, value in recorded.parts.items() if name in parts and parts[name] != value]
    if others:
        where = f"; load {recorded.source}" if recorded.source else "; load the one that it was sampled with"
        raise ValueError(f"{folder} was sampled with another model: {', '.join(others)} differ{where}.")


def adapter_records(priors: Iterable[JukeboxPrior | None]) -> list[AdapterRecord]:
    """Return the records of the adapters in use on priors, and of those merged into them."""
    records = []
    for prior in priors:
        if prior is None:
            continue
        for each in getattr(prior, "merged_adapters", ()):
            records.append(_adapter_record(prior, each.name, each.place, each.scale, True))
        state = getattr(prior, "adapters", None)
        for name, adapter in ({} if state is None else state.by_name).items():
            if adapter.scale:
                records.append(_adapter_record(prior, name, adapter.files.place, adapter.scale, False))
    return records


def _adapter_record(
    prior: JukeboxPrior, name: str, place: AdapterSource, scale: float, is_merged: bool
) -> AdapterRecord:
    return AdapterRecord(prior.config.level, name, **asdict(place), scale=scale, is_merged=is_merged)


def check_adapters(recorded: ModelRecord, now: ModelRecord, folder: Path) -> None:
    """Refuse adapters that are not the recorded ones.

    Raises:
        ValueError: they differ; the message names the recorded ones.
    """
    if sorted(each.effect for each in recorded.adapters) != sorted(each.effect for each in now.adapters):
        raise ValueError(
            f"{folder} was sampled with {_named(recorded.adapters)}, not with {_named(now.adapters)}; call "
            f"unload_lora_weights() and load_run_adapters({str(folder)!r}), or leave out --lora."
        )


def _named(adapters: Sequence[AdapterRecord]) -> str:
    return f"the adapters {listed(each.title for each in adapters)}" if adapters else "no adapters"


def warn_of_other_bits(recorded: ModelRecord, now: ModelRecord, folder: Path) -> None:
    """Warn where a run goes on in another precision, with a compiled step that it began without, or the reverse."""
    theirs, own = recorded.precisions, now.precisions
    how, instead = list[str](), list[str]()
    if any(own.get(name, dtype) != dtype for name, dtype in theirs.items()):
        one = next(iter(theirs.values())) if len(set(theirs.values())) == 1 else None
        how.append(f"in {one}" if one else f"with {', '.join(f'{name} in {dtype}' for name, dtype in theirs.items())}")
        instead.append(f"load the model with `dtype={(one or theirs)!r}`")
    if recorded.is_compiled != now.is_compiled:
        how.append(f"{'with' if recorded.is_compiled else 'without'} a compiled step")
        instead.append("compile it" if recorded.is_compiled else "do not compile it")
    if how:
        warnings.warn(
            f"{folder} was sampled {' and '.join(how)}, so from here on its codes may not be those of a run that was "
            f"never stopped; {' and '.join(instead)} to get those.",
            stacklevel=2,
        )


def write_steps(path: Path, steps: Sequence[RunStep]) -> None:
    """Write all steps of a run, the current one last."""
    content = steps_to_bytes(steps)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def steps_to_bytes(steps: Sequence[RunStep]) -> bytes:
    """Return the content of `request.json` as it is written."""
    # The name of a prompt need not be UTF-8: rather replace its characters than lose the run.
    return f"{steps_to_json(steps)}\n".encode(errors="replace")


def steps_to_json(steps: Sequence[RunStep]) -> str:
    """Return the content of `request.json`."""
    content = {"format_version": FORMAT_VERSION, "steps": [asdict(step) for step in steps]}
    return json.dumps(content, indent=2, ensure_ascii=False)
