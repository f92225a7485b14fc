"""The listening page of a run in a real browser, as the app serves it: it plays, and cannot act as the user."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.browser import Browser

from hf_jukebox import JukeboxPipeline
from hf_jukebox.app.settings import AppSettings

from .conftest import LIMITS, App, running

pytestmark = pytest.mark.browser

PEAK = """(async () => {
    const analyser = context.createAnalyser();
    graphs.get(audios[0]).end.connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    let peak = 0;
    for (let i = 0; i < 100 && peak === 0; i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        analyser.getFloatTimeDomainData(wave);
        peak = Math.max(...wave.map(Math.abs));
    }
    return peak;
})()"""


@pytest.fixture(scope="module", params=[None, "a secret"])
def app(
    request: pytest.FixtureRequest, pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """Return a server without and with a token, on which the browser is logged in."""
    settings = AppSettings(tmp_path_factory.mktemp("runs"), token=request.param, **LIMITS)
    with running(settings, pipe) as app:
        browser = request.getfixturevalue("browser")
        browser.open(str(app.http.base_url) + ("/?token=a secret" if request.param else ""))
        app.http.headers["Authorization"] = "Bearer a secret"
        yield app


@pytest.fixture(scope="module")
def run_id(app: App) -> str:
    run_id = app.make(seconds=8, levels=[2], seed=3)["id"]
    app.finish(run_id)
    return run_id


def test_the_page_plays_in_pseudo_stereo_and_saves(browser: Browser, app: App, run_id: str, tmp_path: Path) -> None:
    browser.problems.clear()
    browser.open(f"{app.http.base_url}/v1/runs/{run_id}/page/")
    assert browser.run("self.origin") == "null"
    browser.run("document.querySelector('.play').click()")
    browser.wait_for("audios[0].currentTime > 0.2")
    browser.run("pseudoStereo.click()")
    browser.wait_for("pseudoStereo.checked && context.state === 'running'")
    assert browser.run(PEAK) > 0.01
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.querySelector('.files a').click()")
    saved = tmp_path / f"{run_id}-level_2-item_0.wav"
    for _ in range(100):
        if saved.is_file():
            break
        browser.run("new Promise((resolve) => setTimeout(resolve, 50))")
    assert saved.read_bytes() == (app.settings.runs / run_id / "level_2/item_0.wav").read_bytes()
    assert browser.problems == []


def test_the_page_of_somebody_else_cannot_act_as_the_user(browser: Browser, app: App, run_id: str) -> None:
    page = app.settings.runs / run_id / "index.html"
    original = page.read_text("utf-8")
    try:
        page.write_text(f"""<!doctype html><title>theirs</title><p id="done">no</p><script>(async () => {{
            const tries = [
                () => fetch("/v1/runs"),
                () => fetch("/v1/runs/{run_id}", {{ method: "DELETE" }}),
                () => navigator.sendBeacon("/v1/runs/{run_id}/pick", "{{}}") || Promise.reject(),
                () => document.cookie || Promise.reject(),
                () => window.open("/").document.body,
            ];
            const results = [];
            for (const each of tries) {{
                try {{ await each(); results.push("done"); }} catch {{ results.push("refused"); }}
            }}
            document.getElementById("done").textContent = results.join();
        }})();</script>""")
        browser.open(f"{app.http.base_url}/v1/runs/{run_id}/page/")
        browser.wait_for("document.getElementById('done').textContent !== 'no'")
        results = browser.run("document.getElementById('done').textContent").split(",")
        # A beacon says that it was sent before it is refused.
        assert [result for number, result in enumerate(results) if number != 2] == ["refused"] * 4
        assert app.http.get(f"/v1/runs/{run_id}").status_code == httpx.codes.OK
    finally:
        page.write_text(original, "utf-8")
