"""Priors that are in memory only while they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache

from ..configuration_jukebox import JukeboxPriorConfig
from ..modeling_prior import JukeboxPrior


@dataclass
class DiskOffload:
    """Priors without weights, of which one at a time is given its weights from disk.

    Args:
        folder: Folder of a pipeline.
        options: Options of `JukeboxPrior.from_pretrained`; `dtype` may be a dict with one dtype per prior's name.
        priors: Priors made so far, by name.
    """

    folder: Path
    options: Mapping[str, Any]
    priors: dict[str, JukeboxPrior] = field(default_factory=dict)

    def prior(self, name: str) -> JukeboxPrior:
        """Make the prior of a subfolder, without weights."""
        config = JukeboxPriorConfig.from_pretrained(self.folder / name)
        with torch.device("meta"):
            prior = JukeboxPrior(config).eval()
        prior.to(self._options_of(name).get("dtype") or config.dtype or torch.float32)
        self.priors[name] = prior
        return prior

    def load(self, prior: torch.nn.Module, device: torch.device) -> None:
        """Load the weights of a prior to a device, and free those of the others."""
        if not any(prior is each for each in self.priors.values()):
            return
        for name, each in self.priors.items():
            if each is not prior:
                _empty(each)
            elif each.position_embedding.is_meta:
                loaded: torch.nn.Module = JukeboxPrior.from_pretrained(self.folder / name, **self._options_of(name))
                loaded.to(device)
                each._parameters.update(loaded._parameters)
                each._modules.update(loaded._modules)

    def _options_of(self, name: str) -> dict[str, Any]:
        options = dict(self.options)
        if isinstance(dtype := options.get("dtype"), dict):
            options["dtype"] = dtype.get(name, dtype.get("default", torch.float32))
        return options

    def unload(self) -> None:
        """Free the weights of all priors."""
        for prior in self.priors.values():
            _empty(prior)


def _empty(prior: torch.nn.Module) -> None:
    if not next(prior.parameters()).is_meta:
        prior.to("meta")
        clear_device_cache(garbage_collection=True)
