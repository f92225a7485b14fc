"""Disks that are full and folders that vanish: one run fails with a sentence, and the queue goes on."""

import errno
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from .conftest import App


def test_a_run_whose_end_cannot_be_written_has_failed_and_the_queue_goes_on(app: App) -> None:
    run_id = app.make(seconds=2, levels=[2], seed=3)["id"]
    obstacle = app.settings.runs / run_id / ".job.json.tmp"  # as a full disk: nothing can be written there
    obstacle.mkdir()
    next_id = app.make(seconds=0.5, levels=[2])["id"]
    app.finish(next_id)
    failed = app.run(run_id)
    assert failed["state"] == "failed"
    assert failed["error"].startswith("The end of this run cannot be written (") and "job.json" in failed["error"]
    assert {run["id"]: run["state"] for run in app.http.get("/v1/runs").json()}[run_id] == "failed"
    obstacle.rmdir()
    app.act(run_id, "resume")
    assert app.finish(run_id)["error"] == ""


def test_the_queue_goes_on_when_the_folder_of_the_run_in_progress_is_removed(app: App) -> None:
    run_id = app.make(seconds=20, levels=[2])["id"]
    app.wait(run_id, lambda view: view["progress"].get("seconds_done", 0) > 0.2)
    shutil.rmtree(app.settings.runs / run_id)
    next_id = app.make(seconds=0.5, levels=[2])["id"]
    app.http.post(f"/v1/runs/{run_id}/stop")
    app.finish(next_id)


def test_a_run_that_cannot_be_written_leaves_no_folder(app: App, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(source: Path, target: Path) -> NoReturn:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    before = {path.name for path in app.settings.runs.iterdir()}
    monkeypatch.setattr(shutil, "copyfile", is_full)
    answer = app.http.post("/v1/runs", json={"prompt": prompt, "seconds": 1})
    assert answer.status_code == 400 and "No space left" in answer.json()["error"]
    assert {path.name for path in app.settings.runs.iterdir()} == before
