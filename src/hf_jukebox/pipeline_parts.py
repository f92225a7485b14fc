"""The components of a pipeline: validated, loaded, saved, and moved between devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import torch
from accelerate.hooks import CpuOffload
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
from .convert.by_name import converted_pipeline
from .files.text import user_path
from .hierarchy import (
    Hierarchy,
    check_fingerprints,
    check_tokenizer,
    code_fingerprint,
    fitting_tokenizer,
    shapes_codes,
)
from .layers.float32 import without_autocast
from .loading.pipeline_index import check_index
from .loading.precision import dtype_argument
from .loading.sources import PathLike, check_parts, check_pipeline_source
from .memory.disk_offload import DiskOffload
from .modeling_prior import JukeboxPrior
from .modeling_vqvae import JukeboxVQVAE
from .runs.model_source import recorded_source
from .runs.prior_records import prior_record
from .runs.record import ModelRecord, adapter_records, weights_fingerprint
from .sharing.cards import Card, repositories
from .sharing.model_cards import Origin, pipeline_card
from .sharing.pushing import PushableMixin, take_push_options
from .tokenization_jukebox import JukeboxTokenizer

_PRIORS = ("prior_0", "prior_1", "prior_2")
_CLASSES = {"vqvae": "JukeboxVQVAE", "tokenizer": "JukeboxTokenizer"} | dict.fromkeys(_PRIORS, "JukeboxPrior")

Method = TypeVar("Method", bound=Callable[..., Any])


def sampling(method: Method) -> Method:
    """Run a method of a pipeline without gradients and without autocast, since each part has the precision it needs."""

    @wraps(method)
    def run(self: JukeboxParts, *args: Any, **kwargs: Any) -> Any:
        with _without_gradients_and_autocast(self.execution_device.type):
            return method(self, *args, **kwargs)

    return cast(Method, run)


def sampling_in_steps(method: Method) -> Method:
    """Run a method of a pipeline that is a generator as `sampling` does; between its steps the caller's settings hold.

    Closing the generator ends the method, which saves its state.
    """

    @wraps(method)
    def run(self: JukeboxParts, *args: Any, **kwargs: Any) -> Any:
        steps = method(self, *args, **kwargs)
        try:
            while True:
                with _without_gradients_and_autocast(self.execution_device.type):
                    try:
                        step = next(steps)
                    except StopIteration:
                        return
                yield step
        finally:
            steps.close()

    return cast(Method, run)


@contextmanager
def _without_gradients_and_autocast(device_type: str) -> Iterator[None]:
    with torch.no_grad(), without_autocast(device_type):
        yield


def _check_kinds(parts: Mapping[str, Any]) -> None:
    """Check that each part is of its class, by its config: a compiled or wrapped model has that of the model in it.

    Raises:
        ValueError: one is not.
    """
    configs = {"vqvae": JukeboxVQVAEConfig} | dict.fromkeys(_PRIORS, JukeboxPriorConfig)
    for name, part in parts.items():
        if part is None and name != "vqvae":
            continue
        is_right = isinstance(part, JukeboxTokenizer)
        if name in configs:
            is_right = isinstance(getattr(part, "config", None), configs[name])
        if not is_right:
            raise ValueError(f"`{name}` must be a {_CLASSES[name]}, not a {type(part).__name__}.")


class JukeboxParts(PushableMixin, DiffusionPipeline):
    """The components of [`JukeboxPipeline`].

    Only this class handles priors that are offloaded or still on disk: `load_part` brings one to the device,
    `unload_parts` offloads what was loaded.
    """

    model_cpu_offload_seq = "prior_2->prior_1->prior_0->vqvae"
    _optional_components = ["tokenizer", *_PRIORS]

    vqvae: JukeboxVQVAE
    tokenizer: JukeboxTokenizer | None
    _on_disk: DiskOffload | None = None
    _is_registering = False

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
        """Set components; the tokenizer follows from the names and alphabets of the priors unless it is given.

        Raises:
            ValueError: a part does not belong to the others.
        """
        parts: dict[str, Any] = {name: getattr(self, name, None) for name in ("vqvae", "tokenizer", *_PRIORS)} | kwargs
        _check_kinds(parts)
        self._check_in_memory({name: parts[name] for name in _PRIORS})
        priors = {name: parts[name].config for name in _PRIORS if parts[name] is not None}
        for name, config in priors.items():
            if name != f"prior_{config.level}":
                raise ValueError(f"{name} was trained for level {config.level}; give it as prior_{config.level}.")
        hierarchy = Hierarchy.of(parts["vqvae"].config, priors.values())
        if any(config.vqvae_fingerprint for config in priors.values()):
            codes = {name: each for name, each in parts["vqvae"].state_dict().items() if shapes_codes(name)}
            if not any(each.is_meta for each in codes.values()):  # as while it is offloaded
                check_fingerprints(priors.values(), code_fingerprint(hierarchy.vqvae, codes))
        if kwargs.get("tokenizer") is not None:
            check_tokenizer(kwargs["tokenizer"], hierarchy)
        else:
            kwargs["tokenizer"] = fitting_tokenizer(parts["tokenizer"], hierarchy)
        self._is_registering = True
        try:
            super().register_modules(**kwargs)
        finally:
            self._is_registering = False

    @property
    def priors(self) -> list[JukeboxPrior | None]:
        """Priors, one per level, finest first; None where a level has no prior."""
        return [getattr(self, name) for name in _PRIORS[: self.vqvae.config.num_levels]]

    @property
    def sampling_rate(self) -> int:
        return self.vqvae.config.sampling_rate

    @property
    def hierarchy(self) -> Hierarchy:
        """The configurations of the parts."""
        return Hierarchy.of(self.vqvae.config, [prior.config for prior in self.priors if prior is not None])

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: PathLike, *, low_memory: bool = False, **kwargs: Any
    ) -> Self:
        """Load a folder or a Hub repository; see `DiffusionPipeline.from_pretrained` for the other arguments.

        Args:
            dtype: Precision of the priors' blocks: a torch dtype, its name such as `"bfloat16"`, a dict of them by
                part (others are in that of `"default"`, or in float32), or `"auto"` and None for the one each part was
                saved in. `torch_dtype` means the same.
            low_memory: Leave the priors on disk; each is read when its level is sampled, and then freed. Such a
                pipeline can sample, but not be saved, copied or quantised.

        Raises:
            OSError: there is no pipeline at that place.
            ValueError: the dtype or a weight file is not usable, or `low_memory` conflicts with another argument.
        """
        dtype = dtype_argument(kwargs, list(_CLASSES))
        name = source = pretrained_model_name_or_path
        if low_memory and kwargs.get("quantization_config") is not None:
            raise ValueError(
                "`low_memory` reads each prior as it was saved, so it cannot be combined with "
                "`quantization_config`; leave one of the two out."
            )
        if kwargs.get("dduf_file") is None:
            found = check_pipeline_source(source, kwargs)
            name = source = found.name
            if found.transformers4 is not None:
                source = str(converted_pipeline(found.name, found.transformers4, kwargs))
            check_index(cls, source, _CLASSES, kwargs)
        if dtype is not None:
            kwargs["dtype"] = dtype
        # Registered below, after the parts of the source: the tokenizer then takes on the names that they carry.
        given = {name: kwargs[name] for name in _PRIORS if kwargs.get(name) is not None}
        if low_memory:
            folder = user_path(source)
            if not folder.is_dir():
                folder = Path(cls.download(source, **kwargs))
            on_disk = DiskOffload(folder, {name: kwargs[name] for name in ("dtype", "variant") if name in kwargs})
            names = [name for name in _PRIORS if (folder / name).is_dir() and name not in kwargs]
            pipeline = super().from_pretrained(str(folder), **kwargs | dict.fromkeys([*names, *given]))
            pipeline._on_disk = on_disk
            given |= {name: on_disk.prior(name) for name in names}
        else:
            pipeline = super().from_pretrained(source, **kwargs | dict.fromkeys(given))
        pipeline.register_to_config(_name_or_path=name)  # not a folder of the cache
        if given:
            pipeline.register_modules(**given, **({"tokenizer": kwargs["tokenizer"]} if "tokenizer" in kwargs else {}))
        return pipeline

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> Self:
        """Make a pipeline of the parts of another one; see `DiffusionPipeline.from_pipe`.

        Args:
            kwargs: Parts that replace those of `pipeline`; the names of artists and genres of a prior come with it.

        Raises:
            ValueError: a part does not belong to the others.
        """
        given = {name: kwargs.pop(name) for name in _CLASSES if kwargs.get(name) is not None}
        made: Self = super().from_pipe(pipeline, **kwargs)
        made.register_modules(**given)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a part is checked against the others, and the tokenizer follows the names of a prior."""
        if name in _CLASSES and name in self.__dict__ and not self._is_registering:
            self.register_modules(**{name: value})
        else:
            super().__setattr__(name, value)

    @classmethod
    def download(cls, pretrained_model_name: PathLike, **kwargs: Any) -> str:
        """Download a pipeline without loading it; see `DiffusionPipeline.download`.

        Raises:
            OSError: parts of it are missing, for example because the network is off.
        """
        folder = super().download(pretrained_model_name, **kwargs)
        check_parts(Path(folder), kwargs)
        return str(folder)

    def save_pretrained(self, save_directory: PathLike, *args: Any, **kwargs: Any) -> None:
        """Save all parts; see `DiffusionPipeline.save_pretrained`.

        Raises:
            ValueError: a part could not be loaded again; nothing is written.
        """
        self._check_not_low_memory("save it")
        for part in (self.vqvae, *self.priors):
            if part is not None:
                part.check_can_be_loaded_again()
        upload = take_push_options(kwargs)
        super().save_pretrained(user_path(save_directory), *args, **kwargs)
        if upload is not None:
            self.push_saved(user_path(save_directory), upload)

    def hub_card(self, repo_id: str) -> Card:
        """Return the card for a repository."""
        base = repositories(self.name_or_path)
        priors = [None if prior is None else prior.config for prior in self.priors]
        return pipeline_card(repo_id, self.vqvae.config, priors, origin=Origin(base_model=base))

    @property
    def device(self) -> torch.device:
        """Device of the components that are loaded."""
        return self.vqvae.device if self._on_disk is not None else super().device

    @property
    def execution_device(self) -> torch.device:
        """Device on which the components run, also when they are offloaded."""
        return cast(torch.device, self._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the priors' blocks; everything else is in float32."""
        return next((prior.dtype for prior in self.priors if prior is not None), self.vqvae.dtype)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all parts, or cast the priors' blocks; see `DiffusionPipeline.to`.

        As in `from_pretrained`, a dtype of half precision is for the priors' blocks alone: the VQ-VAE, norms and
        embeddings stay in float32.
        """
        kwargs.setdefault("silence_dtype_warnings", True)  # of float16 on a CPU, which works here
        on_disk = {} if self._on_disk is None else self._on_disk.priors
        on_disk = {name: prior for name, prior in on_disk.items() if getattr(self, name) is prior}
        for name in on_disk:  # they are read to the pipeline's device when they are needed
            super().__setattr__(name, None)
        super().to(*args, **kwargs)
        for name, prior in on_disk.items():
            super().__setattr__(name, prior)
        return self

    def enable_model_cpu_offload(self, *args: Any, **kwargs: Any) -> None:
        """Keep the parts in main memory, and one at a time on the device; see `DiffusionPipeline`.

        Raises:
            ValueError: the priors are on disk.
        """
        self._check_not_low_memory("offload its parts")
        super().enable_model_cpu_offload(*args, **kwargs)

    def enable_sequential_cpu_offload(self, *args: Any, **kwargs: Any) -> None:
        """Keep the layers in main memory, and one at a time on the device; see `DiffusionPipeline`.

        Raises:
            ValueError: the priors are on disk.
        """
        self._check_not_low_memory("offload its parts")
        super().enable_sequential_cpu_offload(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        self._check_not_low_memory("copy it")
        return super().__reduce_ex__(protocol)

    def _check_in_memory(self, priors: dict[str, Any]) -> None:
        """Refuse priors that another pipeline with `low_memory` has left on disk: only that one can read them."""
        own = [] if self._on_disk is None else list(self._on_disk.priors.values())
        for name, prior in priors.items():
            if prior is None or hasattr(prior, "_hf_hook") or any(prior is each for each in own):
                continue
            if prior.position_embedding.is_meta:
                raise ValueError(
                    f"{name} has no weights in memory, as in a pipeline that was loaded with `low_memory`; to share "
                    "its parts load that one without `low_memory`."
                )

    def _check_not_low_memory(self, to_do: str) -> None:
        if self._on_disk is not None:
            raise ValueError(f"The priors of this pipeline were left on disk; to {to_do} load it without `low_memory`.")

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Set options of tqdm for the bars, such as `disable=True`."""
        super().set_progress_bar_config(**kwargs)

    def load_part(self, model: torch.nn.Module, num_layers: int | None = None) -> None:
        """Load an offloaded part to the device; accelerate's hooks only act on `forward`, which is not called.

        Args:
            num_layers: Number of a prior's blocks, from the bottom, that are needed; all by default. A prior that is
                still on disk is read up to there.
        """
        if self._on_disk is not None:
            self._on_disk.load(model, self.execution_device, num_layers)
        hook = getattr(model, "_hf_hook", None)
        if hook is not None:
            hook.pre_forward(model)

    def load_beside(self, model: torch.nn.Module) -> None:
        """Load an offloaded part to the device, and leave the one in use there."""
        if isinstance(getattr(model, "_hf_hook", None), CpuOffload):
            model.to(self.execution_device)

    def unload_parts(self) -> None:
        """Offload the parts that `load_part` loaded."""
        self.maybe_free_model_hooks()
        if self._on_disk is not None:
            self._on_disk.unload()

    def model_record(self) -> ModelRecord:
        """Return the record of this model for a run."""
        priors = {name: getattr(self, name) for name in _PRIORS}
        priors = {name: prior for name, prior in priors.items() if prior is not None}
        # Another variant of the weights has files of its own, which are not looked for.
        on_disk = None if self._on_disk is None or self._on_disk.options.get("variant") else self._on_disk.folder
        return ModelRecord(
            source=recorded_source(self.name_or_path),
            dtype=str(self.dtype),
            sampling_rate=self.sampling_rate,
            hop_lengths=list(self.vqvae.config.hop_lengths),
            parts={
                name: weights_fingerprint(part, None if self._on_disk is None else self._on_disk.folder / name)
                for name, part in {"vqvae": self.vqvae, **priors}.items()
            },
            adapters=adapter_records(priors.values()),
            priors={
                name: prior_record(prior, None if on_disk is None else on_disk / name) for name, prior in priors.items()
            },
        )
