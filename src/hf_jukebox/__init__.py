"""Jukebox as a Hugging Face-style library: music as codes, sampled level by level and decoded to a waveform.

The public names are imported on first use, so that `import hf_jukebox` costs nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from .lazy_names import names_on_first_use
from .registration import register

if TYPE_CHECKING:
    from .adapters import load_adapter, merge_adapters, set_adapters, unload_adapter
    from .configuration_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig
    from .convert.openai_codes import read_published_codes
    from .modeling_prior import JukeboxPrior
    from .modeling_vqvae import JukeboxVQVAE
    from .pipeline_jukebox import JukeboxPipeline
    from .pipeline_output import JukeboxPipelineOutput
    from .push import push_folder
    from .runs.actions import pick_candidate
    from .runs.export import export_run
    from .runs.folder import JukeboxRun
    from .runs.song_files import open_song
    from .runs.song_requests import SongRequest, read_songs
    from .sampler import SamplingProgress
    from .sampling.decode import AudioBlock
    from .sampling.lyric_alignment import LyricAlignment, align_lyrics
    from .sampling.options import SamplingSettings
    from .sampling.processes import device_of_process
    from .sampling.single_prior import sample_codes, score_codes
    from .sampling.window_labels import WindowLabels
    from .study.embedding import JukeboxEmbeddings
    from .tokenization_jukebox import JukeboxTokenizer

__version__ = "0.1.0"

__all__ = [
    "DEMO_MODEL",
    "DEMO_PROMPT",
    "AudioBlock",
    "JukeboxEmbeddings",
    "JukeboxPipeline",
    "JukeboxPipelineOutput",
    "JukeboxPrior",
    "JukeboxPriorConfig",
    "JukeboxRun",
    "JukeboxTokenizer",
    "JukeboxVQVAE",
    "JukeboxVQVAEConfig",
    "LyricAlignment",
    "SamplingProgress",
    "SamplingSettings",
    "SongRequest",
    "WindowLabels",
    "align_lyrics",
    "device_of_process",
    "export_run",
    "load_adapter",
    "merge_adapters",
    "open_song",
    "pick_candidate",
    "push_folder",
    "read_published_codes",
    "read_songs",
    "sample_codes",
    "score_codes",
    "set_adapters",
    "unload_adapter",
]

DEMO_MODEL = str(Path(__file__).parent / "demo" / "model")
"""Folder of the demo model that is shipped with the package, for `JukeboxPipeline.from_pretrained`."""

DEMO_PROMPT = str(Path(__file__).parent / "demo" / "prompt.wav")
"""Recording for the demo model to continue."""

_MODULES = {
    "AudioBlock": "sampling.decode",
    "JukeboxEmbeddings": "study.embedding",
    "JukeboxPipeline": "pipeline_jukebox",
    "JukeboxPipelineOutput": "pipeline_output",
    "JukeboxPrior": "modeling_prior",
    "JukeboxPriorConfig": "configuration_jukebox",
    "JukeboxRun": "runs.folder",
    "JukeboxTokenizer": "tokenization_jukebox",
    "JukeboxVQVAE": "modeling_vqvae",
    "JukeboxVQVAEConfig": "configuration_jukebox",
    "LyricAlignment": "sampling.lyric_alignment",
    "SamplingProgress": "sampler",
    "SamplingSettings": "sampling.options",
    "SongRequest": "runs.song_requests",
    "WindowLabels": "sampling.window_labels",
    "align_lyrics": "sampling.lyric_alignment",
    "device_of_process": "sampling.processes",
    "export_run": "runs.export",
    "load_adapter": "adapters",
    "merge_adapters": "adapters",
    "open_song": "runs.song_files",
    "pick_candidate": "runs.actions",
    "push_folder": "push",
    "read_published_codes": "convert.openai_codes",
    "read_songs": "runs.song_requests",
    "sample_codes": "sampling.single_prior",
    "score_codes": "sampling.single_prior",
    "set_adapters": "adapters",
    "unload_adapter": "adapters",
}

register()

# Hidden from type checkers, for which a module-level __getattr__ means that every name exists.
if not TYPE_CHECKING:
    __getattr__ = names_on_first_use(__name__, _MODULES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
