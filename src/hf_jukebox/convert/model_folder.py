"""Writing a model's folder from the tensors of a checkpoint, without building the model."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from ..files.atomic import sync_files
from ..files.text import listed
from ..modeling_prior import JukeboxPrior
from ..modeling_vqvae import JukeboxVQVAE
from ..sharing.licences import NON_COMMERCIAL
from .names import Layout, is_transposed, name_in_file

_NAMES_LISTED = 12  # per kind of mismatch
_HEAD, _EMBEDDING = "head.weight", "token_embedding.weight"


class ModelFolder:
    """Folder of a model in the format of `save_pretrained`, made from one or several files of a checkpoint.

    Each file of the checkpoint becomes one file of the folder, and tensors are transposed one at a time: only the
    model's tensors of one file are in memory. Every tensor keeps its precision. The folder appears when it is finished.

    Args:
        folder: Folder to create.
        config: Config of the model.
        layout: Layout of the checkpoint.
        prefix: Prefix of this model's names in the checkpoint.

    Attributes:
        shapes: Shape of each tensor of the model in the checkpoint, by its name there.
    """

    def __init__(
        self, folder: Path, config: JukeboxVQVAEConfig | JukeboxPriorConfig, layout: Layout, prefix: str = ""
    ) -> None:
        with torch.device("meta"):
            model = JukeboxVQVAE(config) if isinstance(config, JukeboxVQVAEConfig) else JukeboxPrior(config)
        config.architectures = [type(model).__name__]
        config.weights_license = NON_COMMERCIAL  # that of every released checkpoint in these layouts
        tensors = model.state_dict()
        self.folder = folder
        self.config = config
        self._unfinished = folder.with_name(f".{folder.name}.tmp")
        downs_t = config.downs_t if isinstance(config, JukeboxVQVAEConfig) else []
        self._names = {
            prefix + name_in_file(name, layout, downs_t): name for name in tensors if not _is_training_state(name)
        }
        self.shapes = {theirs: _their_shape(ours, list(tensors[ours].shape)) for theirs, ours in self._names.items()}
        self._training_state = {name: tensor for name, tensor in tensors.items() if _is_training_state(name)}
        self._is_tied = isinstance(config, JukeboxPriorConfig) and config.tie_word_embeddings
        self._tied: dict[str, torch.Tensor] = {}
        self._dtype_bytes: Counter[torch.dtype] = Counter()
        self._files: list[list[str]] = []

    def may_lack(self, theirs: str) -> bool:
        """Return True for the output matrix of a prior that shares it with the embedding."""
        return self._is_tied and self._names[theirs] == _HEAD

    def take(self, tensors: dict[str, torch.Tensor]) -> None:
        """Remove this model's tensors from those of a file, and write them as one file."""
        taken = {}
        for theirs in [name for name in tensors if name in self._names]:
            ours = self._names[theirs]
            taken[ours] = _to_our_layout(ours, tensors.pop(theirs))
        if self._is_tied:
            self._tied |= {name: taken[name] for name in (_HEAD, _EMBEDDING) if name in taken}
            taken.pop(_HEAD, None)
        if taken:
            self._write(taken)

    def finish(self, source: Path | str) -> None:
        """Write the configuration and, for several files, their index, and give the folder its name.

        Raises:
            ValueError: tensors that are one matrix differ; `source` names the checkpoint in the message.
        """
        if len(self._tied) == 2 and not torch.equal(self._tied[_HEAD], self._tied[_EMBEDDING]):
            theirs = {ours: name for name, ours in self._names.items()}
            raise _unfit(
                source,
                f"wrong {theirs[_HEAD]} and {theirs[_EMBEDDING]}, which differ although the settings make them one "
                "matrix",
            )
        self._tied = {}
        self._name_files()
        self.config.dtype = self._dtype_bytes.most_common(1)[0][0] if self._dtype_bytes else None
        self.config.save_pretrained(self._unfinished)
        sync_files(self._unfinished)
        os.replace(self._unfinished, self.folder)

    def _write(self, tensors: dict[str, torch.Tensor]) -> None:
        if not self._files:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            self._unfinished.mkdir()
        for name, tensor in self._training_state.items():
            tensors[name] = torch.full(tensor.shape, name.endswith("initialized"), dtype=tensor.dtype)
        self._training_state = {}
        for tensor in tensors.values():
            self._dtype_bytes[tensor.dtype] += tensor.nbytes
        path = self._unfinished / f"{len(self._files)}.safetensors"
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
            (self._unfinished / f"{number}.safetensors").rename(self._unfinished / name)
        if count > 1:
            index = {
                "metadata": {"total_size": self._dtype_bytes.total()},
                "weight_map": {
                    tensor: name for name, tensors in zip(names, self._files, strict=True) for tensor in tensors
                },
            }
            path = self._unfinished / "model.safetensors.index.json"
            path.write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def check_tensors(models: Sequence[ModelFolder], found: Mapping[str, Sequence[int]], source: Path | str) -> None:
    """Check that a checkpoint holds the tensors of its models, and no others.

    Args:
        models: Models to make from the checkpoint.
        found: Shape of each tensor of the checkpoint.
        source: Name of the checkpoint, for the message.

    Raises:
        ValueError: it does not; the message lists all differences by the names in the checkpoint.
    """
    wanted = {name: shape for model in models for name, shape in model.shapes.items()}
    missing = [name for model in models for name in model.shapes if name not in found and not model.may_lack(name)]
    wrong = [
        f"{name} is {list(shape)} instead of {wanted[name]}"
        for name, shape in found.items()
        if name in wanted and list(shape) != wanted[name]
    ]
    kinds = {"missing": missing, "unexpected": [name for name in found if name not in wanted], "wrong": wrong}
    differences = [f"{kind} {listed(names, _NAMES_LISTED)}" for kind, names in kinds.items() if names]
    if differences:
        raise _unfit(source, "; ".join(differences))


def _unfit(source: Path | str, differences: str) -> ValueError:
    return ValueError(f"The tensors of {source} do not fit its settings: {differences}.")


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
