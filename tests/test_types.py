"""Strict type checks of the code in the README."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")

# The libraries below ours are left out: they take a minute, and the README does not call them.
SETTINGS = """
[mypy]
strict = true
[mypy-torch.*,transformers.*,numpy.*,accelerate.*,huggingface_hub.*,safetensors.*,soundfile.*,soxr.*,PIL.*,yaml.*]
follow_imports = skip
ignore_missing_imports = true
"""
BEFORE = """
from hf_jukebox import DEMO_MODEL, JukeboxPipeline
pipe = JukeboxPipeline.from_pretrained(DEMO_MODEL)
out = pipe(audio_length_in_s=6)
top = out.codes[-1]
"""
AFTER = """
reveal_type(out)
reveal_type(pipe("prompt.wav", return_dict=False))
pipe("prompt.wav", return_dict=bool(out.codes))
pipe.vqvae.save_pretrained("folder", max_shard_size="1GB")
pipe.set_progress_bar_config(disable=True)
pipe.to("cpu").enable_model_cpu_offload()
pipe("prompt.wav", audio_length="6")
"""


def test_the_lines_of_the_readme_pass_strict_type_checks(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    lines = re.findall(r"`((?:pipe[(.])[^`]*\))`", README)
    assert blocks and len(lines) >= 7
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    (tmp_path / "snippets.py").write_text("\n".join([BEFORE, *lines, *blocks, AFTER]))
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "--no-error-summary", "snippets.py"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    revealed = re.findall(r'Revealed type is "(.*)"', result.stdout)
    assert revealed[0].endswith("JukeboxPipelineOutput") and revealed[1].startswith("tuple["), result.stdout
    errors = re.findall(r"^snippets\.py:(\d+): error: (.*)$", result.stdout, re.MULTILINE)
    last = str(len((tmp_path / "snippets.py").read_text().splitlines()))
    assert {number for number, _ in errors} == {last}, errors  # a wrong line does not pass, the others do
    assert 'Unexpected keyword argument "audio_length"' in errors[0][1]
