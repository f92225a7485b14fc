"""The Space in examples/space, as a process."""

from pathlib import Path

import httpx
import pytest
from helpers.app_process import AppProcess
from helpers.ports import free_port

SPACE = Path(__file__).parents[2] / "examples" / "space" / "app.py"


@pytest.mark.slow
def test_the_space_asks_for_its_token_and_takes_a_run(tmp_path: Path) -> None:
    variables = {"SPACE_ID": "me/jukebox", "JUKEBOX_TOKEN": "secret", "GRADIO_SERVER_PORT": free_port()}
    with AppProcess(tmp_path / "runs", program=SPACE, JUKEBOX_RUNS=str(tmp_path / "runs"), **variables) as space:
        assert httpx.get(f"{space.url}v1/runs").status_code == 401
        headers = {"Authorization": "Bearer secret"}
        made = httpx.post(f"{space.url}v1/runs", json={"seconds": 1, "levels": [2]}, headers=headers)
        assert made.status_code == 201
        assert (tmp_path / "runs" / made.json()["id"] / "job.json").is_file()
