"""Servers of the app with a tiny model, in the process of the tests, over real connections."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.browser import Browser
from helpers.tiny import RATE, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline
from hf_jukebox.app.server import build_server, launch
from hf_jukebox.app.settings import AppSettings
from hf_jukebox.app.worker import Worker
from hf_jukebox.audio import write_audio

LIMITS = {"max_upload_bytes": 2**20, "max_prompt_seconds": 20.0, "max_seconds": 60.0, "max_candidates": 3}


@dataclass
class App:
    """A server that is running."""

    settings: AppSettings
    worker: Worker
    http: httpx.Client

    def make(self, **body: Any) -> dict[str, Any]:
        answer = self.http.post("/v1/runs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def run(self, run_id: str) -> dict[str, Any]:
        return self.http.get(f"/v1/runs/{run_id}").json()

    def act(self, run_id: str, action: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"/v1/runs/{run_id}/{action}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def wait(self, run_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + 120
        while not holds(view := self.run(run_id)):
            assert time.monotonic() < end, view
            time.sleep(0.02)
        return view

    def finish(self, run_id: str) -> dict[str, Any]:
        view = self.wait(run_id, lambda view: view["state"] not in ("running", "queued"))
        assert view["state"] == "finished", view
        return view


@contextmanager
def running(settings: AppSettings, pipe: JukeboxPipeline) -> Iterator[App]:
    server, worker = build_server(settings, lambda: pipe)
    port = launch(server, settings)
    worker.start()
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as http:
        try:
            while worker.pipeline is None or not worker.speeds.seconds_per_code:
                time.sleep(0.02)
            yield App(replace(settings, port=port), worker, http)
        finally:
            worker.close()
            server.get_blocks().close(verbose=False)


@pytest.fixture(scope="session")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(scope="module")
def app(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with running(AppSettings(tmp_path_factory.mktemp("runs"), **LIMITS), pipe) as app:
        yield app


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "my song.wav"
    write_audio(path, np.asarray(noise_audio(2.0)), RATE)
    return path


@pytest.fixture
def prompt(app: App, recording: Path) -> str:
    answer = app.http.post("/v1/prompts", params={"name": recording.name}, content=recording.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()["prompt"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.look()
        yield browser
