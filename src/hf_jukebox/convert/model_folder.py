"""A model's folder, written from the tensors of a checkpoint without building the model."""

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

_NAMES_LISTED = 12  # of each kind of trouble
_HEAD, _EMBEDDING = "head.weight", "token_embedding.weight"


@dataclass
class Mismatch:
    """How the tensors of a checkpoint differ from those of its models, in the checkpoint's names."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def check(self, source: Path | str) -> None:
        """Raise a ValueError that lists all differences, if there are any."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "wrong": self.wrong}
        troubles = [f"{kind} {listed(names, _NAMES_LISTED)}" for kind, names in kinds.items() if names]
        if troubles:
            raise ValueError(f"The tensors of {source} do not fit its settings: {'; '.join(troubles)}.")


class ModelFolder:
    """What `save_pretrained` would write, made from one or several files of a checkpoint.

    Each of these becomes one file of the folder, and tensors are turned one by one: no more than one file of the
    checkpoint is in memory at a time. Every tensor keeps its precision.

    Args:
        folder: Where to write; it is created.
        config: Of the model.
        layout: Of the checkpoint.
        prefix: What the checkpoint puts before the names of this model.
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
        self._shapes = {name: list(tensor.shape) for name, tensor in tensors.items() if not _is_of_training(name)}
        downs_t = config.downs_t if isinstance(config, JukeboxVQVAEConfig) else []
        theirs = {name: prefix + name_in_file(name, layout, downs_t) for name in self._shapes}
        self._names = {name: ours for ours, name in theirs.items()}
        self._of_training = {name: tensor for name, tensor in tensors.items() if _is_of_training(name)}
        self._is_tied = isinstance(config, JukeboxPriorConfig) and config.tie_word_embeddings
        self._tied: dict[str, torch.Tensor] = {}
        self._tied_names = " and ".join(theirs[name] for name in (_HEAD, _EMBEDDING) if name in theirs)
        self._bytes_of: Counter[torch.dtype] = Counter()
        self._files: list[list[str]] = []
        folder.mkdir()

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take this model's tensors out of those of a file, and write them as one file."""
        taken = {}
        for theirs in [name for name in tensors if name in self._names]:
            ours, tensor = self._names.pop(theirs), tensors.pop(theirs)
            if list(tensor.shape) == _their_shape(ours, self._shapes[ours]):
                taken[ours] = _turned(ours, tensor)
            else:
                wanted = _their_shape(ours, self._shapes[ours])
                self.mismatch.wrong.append(f"{theirs} is {list(tensor.shape)} instead of {wanted}")
        if self._is_tied:
            self._tied |= {name: taken[name] for name in (_HEAD, _EMBEDDING) if name in taken}
            taken.pop(_HEAD, None)
        if taken:
            self._write(taken)

    def finish(self) -> None:
        """Write what is left: the configuration and, for several files, their index. Tells what is missing.

        The folder is of use only if `mismatch` is empty.
        """
        if len(self._tied) == 2 and not torch.equal(self._tied[_HEAD], self._tied[_EMBEDDING]):
            self.mismatch.wrong.append(f"{self._tied_names}, which differ although the settings make them one matrix")
        left = [theirs for theirs, ours in self._names.items() if not (self._is_tied and ours == _HEAD)]
        self.mismatch.missing += left
        self._name_files()
        self._config.dtype = self._bytes_of.most_common(1)[0][0] if self._bytes_of else None
        self._config.save_pretrained(self._folder)

    def _write(self, tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in self._of_training.items():
            tensors[name] = torch.full(tensor.shape, name.endswith("initialized"), dtype=tensor.dtype)
        self._of_training = {}
        for tensor in tensors.values():
            self._bytes_of[tensor.dtype] += tensor.nbytes
        path = self._folder / f"{len(self._files)}.safetensors"
        try:
            save_file(tensors, path, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"Cannot write {path}: {error}.") from error
        self._files.append(list(tensors))

    def _name_files(self) -> None:
        """The names by which `from_pretrained` finds the weights."""
        count = len(self._files)
        names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        if count == 1:
            names = ["model.safetensors"]
        for number, name in enumerate(names):
            (self._folder / f"{number}.safetensors").rename(self._folder / name)
        if count > 1:
            index = {
                "metadata": {"total_size": self._bytes_of.total()},
                "weight_map": {
                    tensor: name for name, tensors in zip(names, self._files, strict=True) for tensor in tensors
                },
            }
            (self._folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _is_of_training(name: str) -> bool:
    """Running sums of the codebooks: checkpoints lack them, and they are restored when training goes on."""
    return name.startswith("quantizers.") and not name.endswith(".codebook")


def _their_shape(ours: str, shape: list[int]) -> list[int]:
    if is_transposed(ours):
        return shape[::-1]
    return [1, *shape] if ours.endswith("start_embedding") else shape


def _turned(ours: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as we lay it out, with memory of its own."""
    if not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    if not is_transposed(ours):
        return tensor.view(tensor.shape[1:]) if ours.endswith("start_embedding") else tensor
    # In place: with a copy for each tensor, and each given back, memory falls into pieces that add up.
    transposed = tensor.t().contiguous()
    return tensor.view(transposed.shape).copy_(transposed)
