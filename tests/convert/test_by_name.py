"""Models of transformers 4 are loaded by the names of their repositories, and converted once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from helpers.golden import ORIGINAL
from helpers.loopback_hub import COMMIT, LoopbackHub, loopback_hub
from helpers.refusals import refusal

from hf_jukebox import JukeboxPipeline

NAME = "openai/jukebox-1b-lyrics"
GOLDEN = ORIGINAL.parent / "transformers"
SCRIPT = Path(__file__).parents[1] / "helpers" / "load_by_name.py"
WEIGHTS = "pytorch_model.bin"

pytestmark = pytest.mark.filterwarnings("ignore:.*has no artist")  # the golden model has no tables


def load(hub: LoopbackHub, home: Path, mode: str, **environment: str) -> dict[str, Any]:
    path = {"PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), *sys.path])}
    command = [sys.executable, str(SCRIPT), NAME, mode]
    environment = hub.environment(home) | path | environment
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def padded(weights: bytes, size: int) -> bytes:
    """Add a record to a file of `torch.save`: the client keeps what it has of a file in pieces of 10 MiB."""
    file = io.BytesIO(weights)
    with ZipFile(file, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/padding", bytes(size))
    return file.getvalue()


def test_a_name_is_enough_and_interruptions_and_the_network_cost_nothing(tmp_path: Path):
    with loopback_hub() as hub:
        hub.add(NAME, GOLDEN)
        hub.repositories[NAME][WEIGHTS] = padded(hub.repositories[NAME][WEIGHTS], 12 * 2**20)
        hub.break_after[WEIGHTS] = 11 * 2**20
        first = load(hub, tmp_path, "first")
        # The download that broke off was continued, and nothing was downloaded again after the process was killed.
        weights = len(hub.repositories[NAME][WEIGHTS])
        assert hub.read.count(WEIGHTS) == 2 and weights <= hub.sent < weights + 2**21
        requests = len(hub.requests)
        again = load(hub, tmp_path, "again", HF_HUB_OFFLINE="1")
        assert len(hub.requests) == requests
    folder = f"hf_jukebox/converted/models--openai--jukebox-1b-lyrics/{COMMIT}-v1"
    assert first["lines"][0].startswith(
        f"{NAME} is in the layout of transformers 4; downloading and converting it once"
    )
    assert [line.split(" of ")[0] for line in first["lines"][1:]] == [
        f"Converted {part}" for part in ("vqvae", "prior_2", "prior_1", "prior_0")
    ]
    assert not again["lines"]
    for result in (first, again):
        assert result["codes"] and result["difference"] <= 1e-3
        assert result["name"] == NAME
        parts = ("prior_0", "prior_1", "prior_2", "vqvae")
        assert result["files"] == [f"{folder}/{part}/model.safetensors" for part in parts]  # nothing is left over
        assert "non-commercial purposes only" in result["card"] and NAME in result["card"]
        assert not result["cache warnings"]
    assert again["sample"][0] == again["resume"][0] == 0, again
    assert again["recorded"] == NAME


def test_a_folder_is_converted_once_and_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder, cache = tmp_path / "old", tmp_path / "cache"
    folder.mkdir()
    for path in (GOLDEN / "config.json", GOLDEN / WEIGHTS):
        (folder / path.name).write_bytes(path.read_bytes())
    for converted in (1, 1, 2):
        if converted == 2:
            os.utime(folder / WEIGHTS, (0, 0))
        pipe = JukeboxPipeline.from_pretrained(folder, cache_dir=cache, low_memory=converted == 2)
        assert pipe.name_or_path == str(folder)
        assert len([line for line in caplog.messages if "converting it once" in line]) == converted
        assert len(list(cache.rglob("model_index.json"))) == converted
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", WEIGHTS]


def test_models_that_cannot_be_converted_are_refused_and_leave_nothing(tmp_path: Path):
    folder, cache = tmp_path / "old", tmp_path / "cache"
    folder.mkdir()
    settings = json.loads((GOLDEN / "config.json").read_text())

    def refused() -> str:
        (folder / "config.json").write_text(json.dumps(settings))
        return refusal(lambda: JukeboxPipeline.from_pretrained(folder, cache_dir=cache))

    assert "holds neither model.safetensors nor pytorch_model.bin" in refused()
    (folder / WEIGHTS).write_bytes((GOLDEN / WEIGHTS).read_bytes()[:-1000])
    assert "damaged" in refused()
    del settings["vqvae_config"]
    assert "its settings lack vqvae_config" in refused()
    assert not list(cache.rglob("*.safetensors")) and not list(cache.rglob("*.incomplete"))
