"""Registration with transformers and diffusers, so that their generic loaders find the classes of this library.

`import hf_jukebox` calls `register`, which imports nothing heavy: our classes are imported when a generic loader is
first taken from its library, as by `from transformers import AutoModel`, after or before `import hf_jukebox`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]
_PARTS = ("JukeboxVQVAE", "JukeboxPrior", "JukeboxTokenizer")
_PIPELINE = "JukeboxPipeline"
_AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoTokenizer")


def register() -> None:
    """Make the generic loaders find our classes: now if their libraries are imported, else as soon as they are."""
    waiting = {}
    for name, extend in _EXTENSIONS.items():
        if name in sys.modules:
            extend(sys.modules[name])
        else:
            waiting[name] = extend
    if waiting:
        sys.meta_path.insert(0, _AfterImport(waiting))  # not of importlib.abc, whose import takes 6 ms


class _AfterImport:
    """Import hook that extends modules once they have been imported."""

    def __init__(self, extensions: dict[str, Callable[[ModuleType], None]]) -> None:
        self._extensions = extensions

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._extensions:
            return None
        found = (each.find_spec(name, path, target) for each in sys.meta_path if each is not self)
        spec = next((each for each in found if each is not None), None)
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_extend(module: ModuleType) -> None:
            execute(module)
            self._extensions[name](sys.modules[name])  # the libraries replace themselves by lazy modules

        loader.exec_module = execute_and_extend
        return spec


def _extend_loading_tables(tables: Any) -> None:
    """Let diffusers write and read our components under the package's public name.

    Without these entries it would record private modules, and a repository could not be loaded from the Hub.
    """
    loadable = {name: ["save_pretrained", "from_pretrained"] for name in _PARTS}
    tables.LOADABLE_CLASSES[_PACKAGE] = loadable
    tables.ALL_IMPORTABLE_CLASSES.update(loadable)


def _extend_diffusers(diffusers: ModuleType) -> None:
    """Let `DiffusionPipeline.from_pretrained` find our pipeline, which it looks up by name in diffusers."""

    def pipeline(name: str) -> Any:
        return getattr(import_module(".pipeline_jukebox", _PACKAGE), name)

    _add_lazily(diffusers, (_PIPELINE,), pipeline)


def _extend_auto_classes(library: ModuleType) -> None:
    """Register our models and the tokenizer when an auto class is first taken from a lazy module of transformers."""

    def auto_class(name: str) -> Any:
        lazy_module: Any = type(library)
        value = lazy_module.__getattr__(library, name)
        layers = sys.modules.get("transformers.modeling_layers")
        if layers is None or hasattr(layers, "GradientCheckpointingLayer"):  # else it is asking, in its first lines
            _register_models()
        return value

    if any(name in vars(library) for name in _AUTO_CLASSES):
        _register_models()
    else:
        _add_lazily(library, _AUTO_CLASSES, auto_class)


def _extend_new_transformers(_: ModuleType) -> None:
    """Extend transformers once more: importing its `processing_utils` puts a new module into its place."""
    _extend_auto_classes(sys.modules["transformers"])


def _add_lazily(library: ModuleType, names: tuple[str, ...], get: Callable[[str], Any]) -> None:
    """Call `get` when one of the names is first used; a module's own `__getattr__` comes first (PEP 562)."""

    def get_attribute(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {library.__name__!r} has no attribute {name!r}")  # its class looks further
        return get(name)

    vars(library)["__getattr__"] = get_attribute


def _register_models() -> None:
    auto = import_module("transformers.models.auto")
    configurations = import_module(".configuration_jukebox", _PACKAGE)
    vqvae, prior = configurations.JukeboxVQVAEConfig, configurations.JukeboxPriorConfig
    for config in (vqvae, prior):
        auto.AutoConfig.register(config.model_type, config, exist_ok=True)
    auto.AutoModel.register(vqvae, import_module(".modeling_vqvae", _PACKAGE).JukeboxVQVAE, exist_ok=True)
    auto.AutoModel.register(prior, import_module(".modeling_prior", _PACKAGE).JukeboxPrior, exist_ok=True)
    tokenizer = import_module(".tokenization_jukebox", _PACKAGE).JukeboxTokenizer
    auto.AutoTokenizer.register(prior, tokenizer_class=tokenizer, exist_ok=True)


_EXTENSIONS: dict[str, Callable[[ModuleType], None]] = {
    "diffusers": _extend_diffusers,
    "diffusers.pipelines.pipeline_loading_utils": _extend_loading_tables,
    "transformers": _extend_auto_classes,
    "transformers.models.auto": _extend_auto_classes,
    "transformers.processing_utils": _extend_new_transformers,
}
