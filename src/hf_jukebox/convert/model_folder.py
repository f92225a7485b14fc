"""Writing a model's folder from the tensors of a checkpoint, without building the model."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.text import listed
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from .names import Layout, is_transposed, name_in_file

_NAMES_LISTED = 12  # per kind of mismatch
_HEAD, _EMBEDDING = "head.weight", "token_embedding.weight"


@dataclass
class Mismatch:
    """Differences between the tensors of a checkpoint and those of its models, in the checkpoint's names."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def check(self, source: Path | str) -> None:
        """Raise a ValueError that lists all differences, if there are any."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "wrong": self.wrong}
        differences = [f"{kind} {listed(names, _NAMES_LISTED)}" for kind, names in kinds.items() if names]
        if differences:
            raise ValueError(f"The tensors of {source} do not fit its settings: {'; '.join(differences)}.")


class ModelFolder:
    """Folder of a model in the format of `save_pretrained`, made from one or several files of a checkpoint.

    Each file of the checkpoint becomes one file of the folder, and tensors are transposed one at a time: at most one
    file is in memory. Every tensor keeps its precision.

    Args:
        folder: Folder to create.
        config: Config of the model.
        layout: Layout of the checkpoint.
        prefix: Prefix of this model's names in the checkpoint.
    """

    def __init__(
        self, folder: Path, config: JukeboxVQVAEConfig | JukeboxPriorConfig, layout: Layout, prefix: str = ""
    ) -> None:
        with torch.device("meta"):
            model = JukeboxVQVAE(config) if isinstance(config, JukeboxVQVAEConfig) else JukeboxPrior(config)
        config.architectures = [type(model).__name__]
        tensors = model.state_dict()
        self.mismatch = Mismatch()
        self._folder = folder
        self._config = config
        self._shapes = {name: list(tensor.shape) for name, tensor in tensors.items() if not _is_training_state(name)}
        downs_t = config.downs_t if isinstance(config, JukeboxVQVAEConfig) else []
        theirs = {name: prefix + name_in_file(name, layout, downs_t) for name in self._shapes}
        self._names = {name: ours for ours, name in theirs.items()}
        self._training_state = {name: tensor for name, tensor in tensors.items() if _is_training_state(name)}
        self._is_tied = isinstance(config, JukeboxPriorConfig) and config.tie_word_embeddings
        self._tied: dict[str, torch.Tensor] = {}
        self._tied_names = " and ".join(theirs[name] for name in (_HEAD, _EMBEDDING) if name in theirs)
        self._dtype_bytes: Counter[torch.dtype] = Counter()
        self._files: list[list[str]] = []
        folder.mkdir()

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        """Remove this model's tensors from those of a file, and write them as one file."""
        taken = {}
        for theirs in [name for name in tensors if name in self._names]:
            ours, tensor = self._names.pop(theirs), tensors.pop(theirs)
            if list(tensor.shape) == _their_shape(ours, self._shapes[ours]):
                taken[ours] = _to_our_layout(ours, tensor)
            else:
                wanted = _their_shape(ours, self._shapes[ours])
                self.mismatch.wrong.append(f"{theirs} is {list(tensor.shape)} instead of {wanted}")
        if self._is_tied:
            self._tied |= {name: taken[name] for name in (_HEAD, _EMBEDDING) if name in taken}
            taken.pop(_HEAD, None)
        if taken:
            self._write(taken)

    def finish(self) -> None:
        """Write the configuration and, for several files, their index; add missing tensors to `mismatch`.

        The folder is usable only if `mismatch` is empty.
        """
        if len(self._tied) == 2 and not torch.equal(self._tied[_HEAD], self._tied[_EMBEDDING]):
            self.mismatch.wrong.append(f"{self._tied_names}, which differ although the settings make them one matrix")
        missing = [theirs for theirs, ours in self._names.items() if not (self._is_tied and ours == _HEAD)]
        self.mismatch.missing += missing
        self._name_files()
        self._config.dtype = self._dtype_bytes.most_common(1)[0][0] if self._dtype_bytes else None
        self._config.save_pretrained(self._folder)

    def _write(self, tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in self._training_state.items():
            tensors[name] = torch.full(tensor.shape, name.endswith("initialized"), dtype=tensor.dtype)
        self._training_state = {}
        for tensor in tensors.values():
            self._dtype_bytes[tensor.dtype] += tensor.nbytes
        path = self._folder / f"{len(self._files)}.safetensors"
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"Cannot write {path}: {error}.") from error
        self._files.append(list(tensors))

    def _name_files(self) -> None:
        """Give the files the names that `from_pretrained` looks for."""
        count = len(self._files)
        names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        if count == 1:
            names = ["model.safetensors"]
        for number, name in enumerate(names):
            (self._folder / f"{number}.safetensors").rename(self._folder / name)
        if count > 1:
            index = {
                "metadata": {"total_size": self._dtype_bytes.total()},
                "weight_map": {
                    tensor: name for name, tensors in zip(names, self._files, strict=True) for tensor in tensors
                },
            }
            (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _is_training_state(name: str) -> bool:
    """Return True for running sums of codebooks, which checkpoints lack and further training restores."""
    return name.startswith("quantizers.") and not name.endswith(".codebook")


def _their_shape(ours: str, shape: list[int]) -> list[int]:
    if is_transposed(ours):
        return shape[::-1]
    return [1, *shape] if ours.endswith("start_embedding") else shape


def _to_our_layout(ours: str, tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to our layout, with memory of its own."""
    if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    if not is_transposed(ours):
        return tensor.view(tensor.shape[1:]) if ours.endswith("start_embedding") else tensor
    # In place: with a copy per tensor, fragmentation accumulates.
    transposed = tensor.t().contiguous()
    return tensor.view(transposed.shape).copy_(transposed)
