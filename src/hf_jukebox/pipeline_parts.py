"""What a pipeline is made of: its parts, fitted together, loaded and saved, and brought to where they are needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines import pipeline_loading_utils

from .modeling_prior import JukeboxPrior
from .modeling_vqvae import JukeboxVQVAE
from .pipeline_index import check_index
from .runs.record import ModelRecord, fingerprint
from .runs.resident import PriorsOnDisk
from .system import System, check_tokenizer, fitting_tokenizer
from .tokenization_jukebox import JukeboxTokenizer

PathLike = str | os.PathLike[str]

# With these entries diffusers writes and reads our components under the package's public name; without them it would
# record private modules, and a repository could not be loaded from the Hub.
_LOADABLE = {
    name: ["save_pretrained", "from_pretrained"] for name in ("JukeboxVQVAE", "JukeboxPrior", "JukeboxTokenizer")
}
pipeline_loading_utils.LOADABLE_CLASSES["hf_jukebox"] = _LOADABLE
pipeline_loading_utils.ALL_IMPORTABLE_CLASSES.update(_LOADABLE)

_PRIORS = ("prior_0", "prior_1", "prior_2")
_CLASSES = {"vqvae": "JukeboxVQVAE", "tokenizer": "JukeboxTokenizer"} | dict.fromkeys(_PRIORS, "JukeboxPrior")


class JukeboxParts(DiffusionPipeline):
    """The parts of a pipeline, which [`JukeboxPipeline`] draws with.

    Only this class knows that priors may be offloaded or still on disk: `_place` brings one to the device, `_release`
    takes them away.
    """

    model_cpu_offload_seq = "prior_2->prior_1->prior_0->vqvae"
    _optional_components = ["tokenizer", *_PRIORS]

    vqvae: JukeboxVQVAE
    tokenizer: JukeboxTokenizer | None
    _on_disk: PriorsOnDisk | None = None

    def __init__(
        self,
        vqvae: JukeboxVQVAE,
        tokenizer: JukeboxTokenizer | None = None,
        prior_0: JukeboxPrior | None = None,
        prior_1: JukeboxPrior | None = None,
        prior_2: JukeboxPrior | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(vqvae=vqvae, tokenizer=tokenizer, prior_0=prior_0, prior_1=prior_1, prior_2=prior_2)

    def register_modules(self, **kwargs: Any) -> None:
        """Put parts into the pipeline; a prior brings its names and its alphabet along.

        Raises:
            ValueError: a part does not belong to the others.
        """
        parts: dict[str, Any] = {name: getattr(self, name, None) for name in ("vqvae", "tokenizer", *_PRIORS)} | kwargs
        priors = {name: parts[name].config for name in _PRIORS if parts[name] is not None}
        for name, config in priors.items():
            if name != f"prior_{config.level}":
                raise ValueError(f"{name} was trained for level {config.level}; give it as prior_{config.level}.")
        system = System.of(parts["vqvae"].config, priors.values())
        if kwargs.get("tokenizer") is not None:
            check_tokenizer(kwargs["tokenizer"], system)
        else:
            kwargs["tokenizer"] = fitting_tokenizer(parts["tokenizer"], system)
        super().register_modules(**kwargs)

    @property
    def priors(self) -> list[JukeboxPrior | None]:
        """One a level, finest first; None where a level has no prior."""
        return [getattr(self, name) for name in _PRIORS[: self.vqvae.config.num_levels]]

    @property
    def sampling_rate(self) -> int:
        return self.vqvae.config.sampling_rate

    @property
    def system(self) -> System:
        """The configurations of the parts."""
        return System.of(self.vqvae.config, [prior.config for prior in self.priors if prior is not None])

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: PathLike, *, low_memory: bool = False, **kwargs: Any
    ) -> Self:
        """Load a folder or a Hub repository; see `DiffusionPipeline.from_pretrained` for the other arguments.

        Args:
            dtype: Precision of the priors' blocks, a torch dtype or its name such as `"bfloat16"`.
            low_memory: Leave the priors on disk; each is read when its level is drawn, and then given up again. Such a
                pipeline can draw, but not be saved.

        Raises:
            OSError: there is no pipeline at that place.
            ValueError: the dtype or a weight file is not usable.
        """
        if isinstance(dtype := kwargs.get("dtype"), str):  # diffusers would silently load float32
            kwargs["dtype"] = getattr(torch, dtype.removeprefix("torch."), None)
            if not isinstance(kwargs["dtype"], torch.dtype):
                raise ValueError(f"There is no dtype {dtype!r}; use float32, bfloat16 or float16.")
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir() and not (folder / "model_index.json").is_file():
            raise OSError(f"{folder} holds no model_index.json; give the folder that save_pretrained wrote.")
        check_index(cls, pretrained_model_name_or_path, _CLASSES, kwargs)
        if not low_memory:
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if not folder.is_dir():
            folder = Path(cls.download(pretrained_model_name_or_path, **kwargs))
        on_disk = PriorsOnDisk(folder, {name: kwargs[name] for name in ("dtype", "variant") if name in kwargs})
        names = [name for name in _PRIORS if (folder / name).is_dir() and kwargs.get(name, on_disk) is on_disk]
        pipeline = super().from_pretrained(str(folder), **kwargs | dict.fromkeys(names))
        pipeline.register_modules(**{name: on_disk.prior(name) for name in names})
        pipeline._on_disk = on_disk
        return pipeline

    def save_pretrained(self, save_directory: PathLike, *args: Any, **kwargs: Any) -> None:
        """Save all parts; see `DiffusionPipeline.save_pretrained`.

        Raises:
            ValueError: a part could not be loaded again; nothing is written.
        """
        if self._on_disk is not None:
            raise ValueError("The priors of this pipeline were left on disk; to save it load it without low_memory.")
        for part in (self.vqvae, *self.priors):
            if part is not None:
                part.check_can_be_loaded_again()
        super().save_pretrained(save_directory, *args, **kwargs)

    @property
    def device(self) -> torch.device:
        """Where the parts are that are in memory."""
        return self.vqvae.device if self._on_disk is not None else super().device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all parts; see `DiffusionPipeline.to`."""
        on_disk = {} if self._on_disk is None else self._on_disk.priors
        for name in on_disk:  # they are read to where the pipeline is when they are needed
            setattr(self, name, None)
        super().to(*args, **kwargs)
        for name, prior in on_disk.items():
            setattr(self, name, prior)
        return self

    def _place(self, model: torch.nn.Module) -> None:
        """Bring a model to the device when it is offloaded; the hooks fire on `forward` alone, which we do not call."""
        if self._on_disk is not None:
            self._on_disk.place(model, self._execution_device)
        hook = getattr(model, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(model)

    def _release(self) -> None:
        """Take what `_place` brought away again."""
        self.maybe_free_model_hooks()
        if self._on_disk is not None:
            self._on_disk.release()

    def _model_record(self) -> ModelRecord:
        """What a run writes down about the model that draws it."""
        priors = {name: getattr(self, name) for name in _PRIORS}
        priors = {name: prior for name, prior in priors.items() if prior is not None}
        return ModelRecord(
            source=self.name_or_path or None,
            dtype=str(next((prior.transformer.dtype for prior in priors.values()), self.vqvae.dtype)),
            sampling_rate=self.sampling_rate,
            hop_lengths=list(self.vqvae.config.hop_lengths),
            parts={
                name: fingerprint(part, None if self._on_disk is None else self._on_disk.folder / name)
                for name, part in {"vqvae": self.vqvae, **priors}.items()
            },
        )
