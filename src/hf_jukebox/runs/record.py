"""What `request.json` says: every step of a run, as it was decided, and the model that draws it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from ..files import replacing
from ..sampling.draw import DrawSettings
from ..sampling.request import SamplingRequest, Song

FORMAT_VERSION = 2
_VALUES_A_TENSOR = 64


@dataclass(frozen=True)
class ModelRecord:
    """The model of a step.

    Args:
        source: Folder or repository that it was loaded from.
        dtype: Precision of the priors' blocks.
        sampling_rate, hop_lengths: Of the VQ-VAE, hops finest first.
        parts: A fingerprint of each part by its name, such as `prior_2`.
    """

    source: str | None
    dtype: str
    sampling_rate: int
    hop_lengths: list[int]
    parts: dict[str, str]


@dataclass(frozen=True)
class SongFolder:
    """Where some songs of a batch are kept as a run of their own, how many top-level codes of them, and their title."""

    name: str
    first: int
    last: int
    top_codes: int
    title: str = ""


@dataclass(frozen=True)
class Step:
    """One command of a run: its first draw, a continuation, a choice, the upsampling.

    Args:
        action: `"sample"`, `"continue"`, `"upsample"` or `"pick"`.
        request: What is drawn.
        known: Codes that exist before it, for each level (finest first) one number a song.
        rows: The song of the step before that each song goes on from.
        model: What draws it.
        begun: When, ISO 8601.
        folders: For a batch of requests, the folder of each song; empty otherwise.
    """

    action: str
    request: SamplingRequest
    known: list[list[int]]
    rows: list[int]
    model: ModelRecord
    begun: str
    folders: list[SongFolder]

    @classmethod
    def now(
        cls,
        action: str,
        request: SamplingRequest,
        known: Sequence[Sequence[int]],
        rows: Sequence[int],
        model: ModelRecord,
        folders: Sequence[SongFolder] = (),
    ) -> Step:
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(action, request, [list(level) for level in known], list(rows), model, begun, list(folders))


def fingerprint(model: nn.Module, folder: Path | None = None) -> str:
    """A short name for a model's weights, the same in every precision and on every device.

    It is taken from samples of the tensors that stay in float32 in half precision and under quantisation: embeddings,
    norms, codebooks.

    Args:
        folder: Where the weights of a model lie that has none in memory.
    """
    kept = tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    tensors = {name: tensor.detach() for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    tensors = {
        name: tensor
        for name, tensor in sorted(tensors.items())
        if any(part in kept for part in name.split(".")) and tensor.is_floating_point() and tensor.numel()
    }
    if folder is not None and any(tensor.is_meta for tensor in tensors.values()):
        tensors = dict(_stored(folder, tensors))
    shapes = [(name, list(tensors[name].shape)) for name in sorted(tensors)]
    samples = [tensors[name].flatten()[:: -(-tensors[name].numel() // _VALUES_A_TENSOR)].float() for name, _ in shapes]
    values = torch.cat(samples).cpu().numpy().tobytes()
    return hashlib.sha256(json.dumps(shapes).encode() + values).hexdigest()[:16]


def _stored(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in set(names).intersection(file.keys()):
                yield name, file.get_tensor(name)


def check_model(recorded: ModelRecord, parts: Mapping[str, str], folder: Path) -> None:
    """Refuse a model that is not the recorded one.

    Raises:
        ValueError: which parts differ.
    """
    others = [name for name, value in recorded.parts.items() if name in parts and parts[name] != value]
    if others:
        where = f"; load {recorded.source}" if recorded.source else "; load the one that drew it"
        raise ValueError(f"{folder} was drawn with another model: {', '.join(others)} differ{where}.")


def write_steps(path: Path, steps: Sequence[Step]) -> None:
    """Write all steps of a run, the current one last."""
    content = {"format_version": FORMAT_VERSION, "steps": [asdict(step) for step in steps]}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def read_steps(path: Path) -> list[Step]:
    """The steps of a run, the last one being the current.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: the file is damaged, or was written by a newer version.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no run: there is no {path.name}; draw one with hf-jukebox sample."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format_version"]
        if version > FORMAT_VERSION:
            raise ValueError(
                f"{path} was written by a newer hf_jukebox (its format is {version}, this one reads up to "
                f"{FORMAT_VERSION}); update hf_jukebox."
            )
        return [_step(fields) for fields in content["steps"]]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}); put back a copy of it.") from error


def _step(fields: dict[str, Any]) -> Step:
    request = dict(fields["request"])
    if "batch_size" in request:  # format 1 had songs and segments apart
        del request["batch_size"]
        request["max_batch_size"] = request.pop("segments_at_a_time")
    songs = [Song(**song) for song in request.pop("songs")]
    songs = [replace(song, key=(int(song.key[0]), int(song.key[1]))) for song in songs]
    settings = [DrawSettings(**each) for each in request.pop("settings")]
    return Step(
        **fields
        | {
            "request": SamplingRequest(songs=songs, settings=settings, **request),
            "model": ModelRecord(**fields["model"]),
            "folders": [SongFolder(**each) for each in fields["folders"]],
        }
    )
