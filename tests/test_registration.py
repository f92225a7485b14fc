"""The auto classes of transformers find our models, whatever was imported before."""

import subprocess
import sys

import pytest

AUTO = "from transformers import AutoConfig, AutoModel, AutoTokenizer"
LOAD = """
folder = hf_jukebox.DEMO_MODEL
print(type(AutoConfig.from_pretrained(folder, subfolder="vqvae")).__name__)
print(type(AutoModel.from_pretrained(folder, subfolder="prior_2")).__name__)
print(type(AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")).__name__)
"""


@pytest.mark.parametrize(
    "imports",
    [
        ["import hf_jukebox", AUTO],
        [AUTO, "import hf_jukebox"],
        # Each of these imports transformers.processing_utils, which replaces the module transformers.
        ["import hf_jukebox", "from hf_jukebox import JukeboxPrior, JukeboxTokenizer", AUTO],
        ["import hf_jukebox", "from transformers import WhisperProcessor", AUTO],
        ["import transformers, hf_jukebox", "from hf_jukebox import JukeboxPrior", AUTO],
        ["import hf_jukebox", "from transformers import GPT2Model", AUTO],
        ["import hf_jukebox", "from transformers.models.auto import AutoConfig, AutoModel, AutoTokenizer"],
    ],
)
def test_auto_classes_find_our_models_after_any_other_import(imports: list[str]) -> None:
    program = "\n".join([*imports, LOAD])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["JukeboxVQVAEConfig", "JukeboxPrior", "JukeboxTokenizer"], done.stderr
