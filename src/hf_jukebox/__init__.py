"""Jukebox as a Hugging Face-style library: music as codes, drawn level by level and decoded to a waveform.

The public names are imported on first use, so that `import hf_jukebox` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
    from .modeling_prior import JukeboxPrior
    from .modeling_vqvae import JukeboxVQVAE
    from .pipeline_jukebox import JukeboxPipeline
    from .runs.folder import JukeboxRun
    from .tokenization_jukebox import JukeboxTokenizer

__version__ = "0.1.0"

__all__ = [
    "DEMO_MODEL",
    "JukeboxPipeline",
    "JukeboxPrior",
    "JukeboxPriorConfig",
    "JukeboxRun",
    "JukeboxTokenizer",
    "JukeboxVQVAE",
    "JukeboxVQVAEConfig",
]

DEMO_MODEL = str(Path(__file__).parent / "demo" / "model")
"""Folder of the demo model that is shipped with the package, for `JukeboxPipeline.from_pretrained`."""

_MODULE_OF = {
    "JukeboxPipeline": "pipeline_jukebox",
    "JukeboxPrior": "modeling_prior",
    "JukeboxPriorConfig": "configuration_jukebox",
    "JukeboxRun": "runs.folder",
    "JukeboxTokenizer": "tokenization_jukebox",
    "JukeboxVQVAE": "modeling_vqvae",
    "JukeboxVQVAEConfig": "configuration_jukebox",
}

# Hidden from type checkers: to them a module-level __getattr__ would mean that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> type:
        """Import the module that defines a public name when the name is first used (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
