"""Loads a model of transformers 4 by name, first in a process that is killed while it converts it; prints JSON.

Arguments: name of the repository, and `first` or `again`.
"""

import json
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import torch
from huggingface_hub import scan_cache_dir
from huggingface_hub.constants import HF_ASSETS_CACHE
from safetensors.torch import load_file

from helpers.command_line import run
from helpers.golden import ORIGINAL
from hf_jukebox import JukeboxPipeline
from hf_jukebox.convert.model_folder import ModelFolder

name, mode = sys.argv[1:]
warnings.simplefilter("ignore")
logging.disable(logging.NOTSET)


def killed_while_converting() -> None:
    """Load the model in a process that is killed after the second prior."""
    child = os.fork()
    if child:
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        return
    finish = ModelFolder.finish

    def kill(self: ModelFolder, source: object) -> None:
        finish(self, source)  # type: ignore[arg-type]
        if self.folder.name == "prior_1":
            os.kill(os.getpid(), signal.SIGKILL)

    ModelFolder.finish = kill  # type: ignore[assignment, method-assign]
    try:
        JukeboxPipeline.from_pretrained(name)
    finally:
        os._exit(1)


class Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines.append(record.getMessage())


lines: list[str] = []
if mode == "first":
    killed_while_converting()
logger = logging.getLogger("hf_jukebox")
logger.addHandler(Lines())
logger.setLevel(logging.INFO)
pipe = JukeboxPipeline.from_pretrained(name)
measured = load_file(ORIGINAL.parent / "transformers" / "expected.safetensors")
codes = pipe.vqvae.encode(measured["x"])
with torch.no_grad():
    logits = pipe.prior_2(measured["prior2.z"], None, measured["prior2.metadata"]).logits
result = {
    "lines": lines,
    "codes": all(torch.equal(each, measured[f"codes_{level}"].long()) for level, each in enumerate(codes)),
    "difference": (
        logits - measured["prior2.preds"][:, pipe.prior_2.config.num_joint_lyrics :, pipe.prior_2._code_shift :]
    )
    .abs()
    .max()
    .item(),
    "name": pipe.name_or_path,
    "files": sorted(str(path.relative_to(HF_ASSETS_CACHE)) for path in Path(HF_ASSETS_CACHE).rglob("*.safetensors")),
    "card": next(Path(HF_ASSETS_CACHE).rglob("README.md")).read_text(),
    "cache warnings": [str(each) for each in scan_cache_dir().warnings],
}
if mode == "again":
    run_dir = Path(HF_ASSETS_CACHE).with_name("run")
    sampled = run("sample", "--model", name, "--seconds", "0.02", "--levels", "2", "--output", run_dir)
    resumed = run("resume", run_dir)
    result |= {"sample": [sampled.exit_code, sampled.output], "resume": [resumed.exit_code, resumed.output]}
    result |= {"recorded": json.loads((run_dir / "request.json").read_text())["steps"][0]["model"]["source"]}
print(json.dumps(result))
