"""Methods of the pipeline for LoRA adapters, under the names that diffusers gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from .files.text import listed, user_path
from .loading.adapter_files import AdapterFiles, checked_scale, read_adapter
from .loading.sources import PathLike
from .modeling_prior import JukeboxPrior
from .pipeline_sampling import JukeboxSampling
from .runs.contents import RunReader
from .runs.record import AdapterRecord
from .sampling.step_runner import StepRunner

Names = str | Sequence[str]


class JukeboxAdapters(JukeboxSampling):
    """The part of [`JukeboxPipeline`] that puts LoRA adapters onto its priors.

    Names of artists and genres that an adapter was trained with are valid while it is in use. A compiled pipeline
    compiles its step again after a change.
    """

    _disabled: Mapping[str, dict[str, float]] = {}

    def load_lora_weights(
        self,
        source: PathLike,
        adapter_name: str | None = None,
        *,
        scale: float = 1.0,
        level: int | None = None,
        subfolder: str | None = None,
        **hub: Any,
    ) -> None:
        """Load a LoRA adapter onto the prior that it was trained on, and use it along with those already loaded.

        Adapters of several priors may have the same name; they are then set and unloaded together.

        Args:
            source: Folder or Hub repository with a LoRA in peft's format, such as a training with `--lora_rank` writes.
            adapter_name: Name for the methods below; `default_0` and so on by default.
            scale: Strength: 1 as trained, 0 for no effect.
            level: Level of the prior; needed only for an adapter that does not say it and fits several.
            subfolder: Folder in `source`; by default `source` itself or its folder `adapter`.
            hub: `revision`, `token`, `cache_dir`, `local_files_only` and other arguments of `hf_hub_download`.

        Raises:
            OSError: there is no adapter there, or its files are damaged.
            ValueError: it was trained on another prior, or the name is in use. Nothing is changed.
        """
        scale = checked_scale(scale)
        files = read_adapter(source, subfolder, hub)
        self._add([(self._prior_for(files, level), adapter_name or self._free_name(), files, scale)])

    def set_adapters(self, adapter_names: Names, adapter_weights: float | Sequence[float] | None = None) -> None:
        """Use the given adapters, of those loaded, and no others.

        Args:
            adapter_names: One name or several.
            adapter_weights: Strength of each, or one for all; 1 by default.

        Raises:
            ValueError: there is no adapter of a name, a name is given twice, or the strengths are not one finite number
                per adapter. Nothing is changed.
        """
        names = self._checked_names(adapter_names)
        given = 1.0 if adapter_weights is None else adapter_weights
        weights = [checked_scale(weight) for weight in (given if isinstance(given, Iterable) else [given] * len(names))]
        if len(weights) != len(names):
            raise ValueError(f"There are {len(names)} adapters but {len(weights)} strengths; give one per adapter.")
        scales = dict(zip(names, weights, strict=True))
        self._use(lambda prior, loaded: scales)

    def get_list_adapters(self) -> dict[str, dict[str, float]]:
        """Return the adapters of each prior that has some, each with its strength."""
        return {f"prior_{prior.config.level}": loaded for prior, loaded in self._adapted()}

    def get_active_adapters(self) -> list[str]:
        """Return the names of the adapters in use."""
        return list(dict.fromkeys(name for _, loaded in self._adapted() for name, scale in loaded.items() if scale))

    def disable_lora(self) -> None:
        """Sample without the adapters until `enable_lora`; they stay loaded."""
        if self.get_active_adapters():
            before = self.get_list_adapters()
            self._use(lambda prior, loaded: {})
            self._disabled = before

    def enable_lora(self) -> None:
        """Use the adapters again that `disable_lora` switched off, with the strengths that they had."""
        if self._disabled and not self.get_active_adapters():
            disabled = self._disabled
            self._use(lambda prior, loaded: loaded | disabled.get(f"prior_{prior.config.level}", {}))

    def delete_adapters(self, adapter_names: Names) -> None:
        """Remove adapters from the priors.

        Raises:
            ValueError: there is no adapter of a name. Nothing is changed.
        """
        names = self._checked_names(adapter_names)

        def change(prior: JukeboxPrior, loaded: dict[str, float]) -> None:
            from . import adapters  # needs peft

            for name in names:
                if name in loaded:
                    adapters.unload_adapter(prior, name)

        self._change(change)

    def unload_lora_weights(self) -> None:
        """Remove all adapters; the priors are then what they were before, bit for bit. Merged ones stay."""
        if names := [name for _, loaded in self._adapted() for name in loaded]:
            self.delete_adapters(list(dict.fromkeys(names)))

    def fuse_lora(self, lora_scale: float = 1.0, adapter_names: Names | None = None) -> None:
        """Merge adapters into the weights, and remove all others: plain priors, which are faster and can be saved.

        This cannot be undone; load the pipeline again instead.

        Args:
            lora_scale: Factor on the strengths.
            adapter_names: Adapters to merge; those in use by default.

        Raises:
            ValueError: there is no adapter of a name, or the priors are on disk. Nothing is changed.
        """
        self._check_not_low_memory("merge adapters")
        names = None if adapter_names is None else self._checked_names(adapter_names)

        def change(prior: JukeboxPrior, loaded: dict[str, float]) -> None:
            from . import adapters  # needs peft

            scales = {name: scale * lora_scale for name, scale in loaded.items() if names is None or name in names}
            adapters.set_adapters(prior, scales)
            adapters.merge_adapters(prior)

        self._change(change)

    def load_run_adapters(self, run: PathLike | RunReader) -> None:
        """Load the adapters that a run was sampled with, to resume or continue it.

        They are looked for in their folders and in the cache of the Hub; nothing is downloaded.

        Raises:
            OSError, ValueError: one is not there any more, has changed, or does not fit. Nothing is changed.
        """
        run = run if isinstance(run, RunReader) else RunReader.open(user_path(run))
        found = [(record, _find(record, run.folder)) for record in run.step.model.adapters]
        wanted = [(self._prior_for(files, record.level), record, files) for record, files in found]
        if any(record.is_merged for record, _ in found):
            self._check_not_low_memory("merge adapters")
        for is_merged in (True, False):
            added = [(each, it.name, files, it.scale) for each, it, files in wanted if it.is_merged == is_merged]
            self._add(added)
            if is_merged and added:
                self.fuse_lora()

    # Parts -----------------------------------------------------------------------------------------------------------

    def _adapted(self) -> list[tuple[JukeboxPrior, dict[str, float]]]:
        """Return the priors with adapters, the top one first, and their adapters with the strength of each."""
        priors = [prior for prior in reversed(self.priors) if getattr(prior, "adapters", None) is not None]
        if not priors:
            return []
        from . import adapters  # needs peft

        return [(prior, adapters.adapters_of(prior)) for prior in priors if prior is not None]

    def _checked_names(self, adapter_names: Names) -> list[str]:
        """Return names as a list.

        Raises:
            ValueError: there is no adapter of a name.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        loaded = list(dict.fromkeys(name for _, scales in self._adapted() for name in scales))
        for name in names:
            if name not in loaded:
                there = f"there are: {listed(loaded)}" if loaded else "there is none; load one by load_lora_weights"
                raise ValueError(f"There is no adapter {name!r}; {there}.")
            if names.count(name) > 1:
                raise ValueError(f"The adapter {name!r} is named twice; name each once.")
        return names

    def _free_name(self) -> str:
        loaded = {name for _, scales in self._adapted() for name in scales}
        return next(name for number in count() if (name := f"default_{number}") not in loaded)

    def _prior_for(self, files: AdapterFiles, level: int | None) -> JukeboxPrior:
        """Return the prior that an adapter was trained on.

        Raises:
            ValueError: it fits none, or several.
        """
        from .adapter_state import check_fits  # needs peft

        source = files.place.source
        if level is None:
            level = files.level
        present = {prior.config.level: prior for prior in self.priors if prior is not None}
        if level is not None and level not in present:
            raise ValueError(f"The adapter {source} is for level {level}, where this pipeline has no prior.")
        if level is not None:
            present = {level: present[level]}
        fitting, fault = [], ""
        for prior in present.values():
            try:
                check_fits(prior, files)
                fitting.append(prior)
            except ValueError as error:
                fault = str(error)
        if not fitting:
            raise ValueError(fault)
        if len(fitting) > 1:
            levels = listed(str(prior.config.level) for prior in fitting)
            raise ValueError(f"The adapter {source} fits the priors of levels {levels}; choose one with `level`.")
        return fitting[0]

    def _add(self, wanted: Sequence[tuple[JukeboxPrior, str, AdapterFiles, float]]) -> None:
        """Put adapters onto priors.

        Raises:
            ValueError: one cannot be added. Nothing is changed.
        """
        if not wanted:
            return
        from . import adapters  # needs peft

        for prior, name, _, _ in wanted:
            adapters.check_free_name(prior, name)
            self._check_layers_in_memory(prior)
        self.unload_parts()
        for prior, name, files, scale in wanted:
            adapters.add_adapter_files(prior, files, name, scale)
        self._use_changes()

    def _use(self, scales: Callable[[JukeboxPrior, dict[str, float]], dict[str, float]]) -> None:
        """Give the adapters of every prior the strengths that a function returns for it and those that it has."""

        def change(prior: JukeboxPrior, loaded: dict[str, float]) -> None:
            from . import adapters  # needs peft

            wanted = scales(prior, loaded)
            adapters.set_adapters(prior, {name: scale for name, scale in wanted.items() if name in loaded})

        self._disabled = {}
        self._change(change)

    def _change(self, change: Callable[[JukeboxPrior, dict[str, float]], None]) -> None:
        """Apply a change to every prior with adapters."""
        adapted = self._adapted()
        for prior, _ in adapted:
            self._check_layers_in_memory(prior)
        self.unload_parts()
        for prior, loaded in adapted:
            change(prior, loaded)
        self._use_changes()

    def _check_layers_in_memory(self, prior: JukeboxPrior) -> None:
        if self._on_disk is None and prior.position_embedding.is_meta:
            raise ValueError(
                "The layers of this pipeline are offloaded one by one; change adapters before "
                "`enable_sequential_cpu_offload()`, or after `remove_all_hooks()`."
            )

    def _use_changes(self) -> None:
        """Make the tokenizer follow the names of the priors, and forget a compiled step."""
        self.register_modules()
        if self._steps is not None:
            self._steps = StepRunner(self._steps.compiled, self._steps.sizes)


def _find(record: AdapterRecord, run_dir: Path) -> AdapterFiles:
    """Read the adapter of a run from its folder, or from the cache of the Hub.

    Raises:
        OSError: it is not there.
        ValueError: it is another one by now.
    """
    hub = {} if user_path(record.source).is_dir() else {"revision": record.revision, "local_files_only": True}
    advice = f"give it yourself, as --lora {record.title} or by load_lora_weights"
    try:
        files = read_adapter(record.source, record.subfolder, hub)
    except OSError as error:
        raise OSError(
            f"The adapter {record.source} of {run_dir} is neither in its folder nor in the cache; {advice}."
        ) from error
    if files.place.fingerprint != record.fingerprint:
        raise ValueError(f"The adapter {record.source} has changed since {run_dir} was sampled; {advice}.")
    return files
