"""Public names of the package, each imported on first use."""

import subprocess
import sys
from pathlib import Path

import pytest

import hf_jukebox

PUBLIC = {
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
}


def loaded_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_is_light():
    assert not loaded_after("import hf_jukebox") & {"accelerate", "diffusers", "numpy", "torch", "transformers"}


def test_configurations_do_not_load_the_pipeline():
    assert "diffusers" not in loaded_after("from hf_jukebox import JukeboxPriorConfig, JukeboxVQVAEConfig")


def test_public_names():
    assert set(hf_jukebox.__all__) == PUBLIC
    assert set(dir(hf_jukebox)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"DEMO_MODEL", "DEMO_PROMPT"}))
def test_public_names_are_imported_on_first_use(name):
    assert getattr(hf_jukebox, name).__name__ == name


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'JukeboxTrainer'"):
        _ = hf_jukebox.JukeboxTrainer


def test_the_demo_model_and_its_prompt_are_in_the_package():
    folder = Path(hf_jukebox.__file__).parent
    assert Path(hf_jukebox.DEMO_MODEL).is_relative_to(folder) and Path(hf_jukebox.DEMO_MODEL).is_dir()
    assert Path(hf_jukebox.DEMO_PROMPT).is_relative_to(folder) and Path(hf_jukebox.DEMO_PROMPT).is_file()
