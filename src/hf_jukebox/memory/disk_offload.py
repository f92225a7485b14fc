"""Priors that are in memory only while they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from ..configuration_jukebox import JukeboxPriorConfig
from ..loading.partial_weights import read_weights
from ..modeling_prior import JukeboxPrior


@dataclass
class DiskOffload:
    """Priors without weights, of which one at a time is given its weights from disk.

    Args:
        folder: Folder of a pipeline.
        options: Options of `JukeboxPrior.from_pretrained`; `dtype` may be a dict with one dtype per prior's name.
        priors: Priors made so far, by name.
        partial: Number of blocks of the priors of which only the lowest are in memory, by name.
    """

    folder: Path
    options: Mapping[str, Any]
    priors: dict[str, JukeboxPrior] = field(default_factory=dict)
    partial: dict[str, int] = field(default_factory=dict)

    def prior(self, name: str) -> JukeboxPrior:
        """Make the prior of a subfolder, without weights."""
        config = JukeboxPriorConfig.from_pretrained(self.folder / name)
        with torch.device("meta"):
            prior = JukeboxPrior(config).eval()
        prior.to(self._options_of(name).get("dtype") or config.dtype or torch.float32)
        self.priors[name] = prior
        return prior

    def load(self, prior: torch.nn.Module, device: torch.device, num_layers: int | None = None) -> None:
        """Load the weights of a prior to a device, and free those of the others.

        Args:
            num_layers: Number of blocks, from the bottom, for [`JukeboxPrior.iter_hidden_states`]; the weights above
                them are left on disk. All weights by default.
        """
        if not any(prior is each for each in self.priors.values()):
            return
        for name, each in self.priors.items():
            if each is not prior:
                self._empty(name)
                continue
            has_adapters = getattr(each, "adapters", None) is not None  # they need all layers
            if name in self.partial and (num_layers is None or has_adapters or num_layers > self.partial[name]):
                self._empty(name)
            if not each.position_embedding.is_meta:
                continue
            if num_layers is None or has_adapters or num_layers >= each.config.num_hidden_layers:
                loaded = JukeboxPrior.from_pretrained(self.folder / name, **self._options_of(name))
                if has_adapters:
                    from ..adapters import put_adapters_on  # needs peft

                    put_adapters_on(each, loaded)
                loaded.to(device)
                each._parameters.update(loaded._parameters)
                each._modules.update(loaded._modules)
            else:
                self.partial[name] = num_layers
                _fill(each, self.folder / name, num_layers, device, self.options.get("variant"))

    def unload(self) -> None:
        """Free the weights of all priors."""
        for name in self.priors:
            self._empty(name)

    def _empty(self, name: str) -> None:
        self.partial.pop(name, None)
        prior = self.priors[name]
        if not all(weight.is_meta for weight in prior.parameters()):
            prior.to("meta")
            clear_device_cache(garbage_collection=True)

    def _options_of(self, name: str) -> dict[str, Any]:
        options = dict(self.options)
        if isinstance(dtype := options.get("dtype"), dict):
            options["dtype"] = dtype.get(name, dtype.get("default", torch.float32))
        return options


def _fill(prior: JukeboxPrior, folder: Path, num_layers: int, device: torch.device, variant: str | None) -> None:
    """Read the weights of a prior's embeddings and of its lowest blocks, in the precision that it has."""
    unused = prior.unused_below(num_layers)
    wanted = {name: weight for name, weight in prior.named_parameters() if not name.startswith(unused)}
    shapes = {name: weight.shape for name, weight in wanted.items()}
    for name, tensor in read_weights(folder, shapes, variant):
        module, _, attribute = name.rpartition(".")
        weight = torch.nn.Parameter(tensor.to(device, wanted[name].dtype), requires_grad=False)
        setattr(prior.get_submodule(module), attribute, weight)
