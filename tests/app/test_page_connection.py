"""The page while the server or the connection is gone, in many tabs, and at addresses of no piece."""

import threading
from pathlib import Path

import pytest
from helpers.app_process import AppProcess
from helpers.browser import Browser
from helpers.ports import free_port

from hf_jukebox import JukeboxPipeline
from hf_jukebox.app.server import build_server, launch
from hf_jukebox.app.settings import AppSettings

from .conftest import App
from .test_page import STATE, click, open_page

pytestmark = pytest.mark.browser

CONNECTION = "document.getElementById('connection').textContent"
STREAMS = """(() => {
    window.streams = [];
    window.EventSource = class extends EventSource {
        constructor(address) { super(address); window.streams.push(this); }
    };
})()"""
OPEN_STREAMS = "window.streams.filter((each) => each.readyState !== EventSource.CLOSED).length"


def hide(browser: Browser, *, hidden: bool) -> None:
    """Hide the page as another tab over it would, or show it."""
    value = "true" if hidden else "false"
    browser.run(f"Object.defineProperty(document, 'hidden', {{ configurable: true, get: () => {value} }})")
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")


def test_the_page_goes_on_after_the_server_was_gone(browser: Browser, tmp_path: Path) -> None:
    runs, port = tmp_path / "runs", free_port()
    with AppProcess(runs, "--port", port) as server:
        open_page(browser, server.url)
        click(browser, "#compose button", "Make music")
        browser.wait_for(f"{STATE}.includes('finished')")
        click(browser, ".candidate .play")
        browser.wait_for("audio.currentTime > 0.2")
        click(browser, ".candidate .play")
        click(browser, ".candidate:nth-of-type(2) .play")  # loaded anew from a server that is gone meanwhile
        server.kill()
        browser.run("audio.src = audio.src; audio.play().catch(() => {})")
        browser.wait_for("audio.error !== null")
        browser.wait_for(f"{CONNECTION} === 'The server does not answer; trying again.'")
        assert browser.run("document.querySelector('.candidate.playing')") is None
    with AppProcess(runs, "--port", port):
        browser.wait_for(f"{CONNECTION} === ''")
        click(browser, ".candidate:nth-of-type(2) .play")
        browser.wait_for("!audio.paused && audio.currentTime > 0.2 && !audio.error")


def test_only_a_page_that_is_seen_and_sampled_holds_a_connection(browser: Browser, app: App) -> None:
    run_id = app.make(seconds=60, levels=[2], candidates=3)["id"]
    open_page(browser, str(app.http.base_url))
    browser.run(STREAMS)
    browser.run(f"location.hash = '{run_id}'")
    browser.wait_for(f"{OPEN_STREAMS} === 1 && {STATE}.includes('2')")
    hide(browser, hidden=True)
    assert browser.run(OPEN_STREAMS) == 0
    hide(browser, hidden=False)
    browser.wait_for(f"{OPEN_STREAMS} === 1")
    click(browser, "#run-view button", "Stop")
    browser.wait_for(f"{STATE}.startsWith('Stopped')")
    assert browser.run(OPEN_STREAMS) == 0
    app.act(run_id, "resume")  # from elsewhere
    browser.wait_for(f"{OPEN_STREAMS} === 1 && !{STATE}.startsWith('Stopped')")
    app.act(run_id, "stop")
    browser.wait_for(f"{OPEN_STREAMS} === 0 && {STATE}.startsWith('Stopped')")


def test_one_loop_draws_however_often_levels_are_switched(browser: Browser, app: App) -> None:
    run_id = app.make(seconds=3, candidates=2, prompt="example")["id"]
    app.finish(run_id)
    open_page(browser, f"{app.http.base_url}#{run_id}")
    click(browser, ".candidate .play")
    browser.wait_for("audio.currentTime > 0.1")
    drawn = browser.run("""new Promise((resolve) => {
        const next = window.requestAnimationFrame;
        let asked = 0;
        window.requestAnimationFrame = (draw) => { asked += 1; return next.call(window, draw); };
        const radios = [...document.querySelectorAll(".levels input")];
        let clicks = 0;
        const click = () => {
            radios[clicks % radios.length].click();
            if (++clicks < 12) setTimeout(click, 30);
            else setTimeout(() => { asked = 0; next(() => next(() => next(() => resolve(asked)))); }, 100);
        };
        click();
    })""")
    assert 1 <= drawn <= 4  # within three frames


def test_pieces_that_there_are_not_are_named_so(browser: Browser, app: App) -> None:
    open_page(browser, f"{app.http.base_url}#20260101-000000-dead")
    error = "document.querySelector('#run-view [role=alert]').textContent"
    browser.wait_for(f"{error}.includes(\"There is no run '20260101-000000-dead' here.\")")
    assert browser.run("document.getElementById('run-title').textContent") == "This piece cannot be shown"
    open_page(browser, f"{app.http.base_url}#%")
    browser.wait_for(f"{error}.startsWith('There is no run')")
    assert not [each for each in browser.problems if "Error" in each]


def test_pieces_are_heard_while_the_model_is_loaded_and_if_it_cannot_be(
    browser: Browser, app: App, tmp_path: Path
) -> None:
    made = app.make(seconds=1, levels=[2])["id"]
    app.finish(made)
    is_loaded = threading.Event()

    def load() -> JukeboxPipeline:
        is_loaded.wait(60)
        raise OSError("The disk is gone.")

    settings = AppSettings(app.settings.runs)
    server, worker = build_server(settings, load)
    port = launch(server, settings)
    worker.start()
    try:
        browser.open("about:blank")
        browser.open(f"http://localhost:{port}/#{made}")
        browser.run("document.querySelector('#compose [name=seconds]').focus()")
        browser.type("7")
        browser.press("Enter")
        assert browser.run("document.querySelector('#compose [type=submit]').disabled")
        is_loaded.set()
        model = "document.getElementById('model').textContent"
        browser.wait_for(f"{model} === 'The model cannot be loaded: The disk is gone.'", 20)
        assert browser.run("document.getElementById('estimate').textContent") == "not without a model"
        assert browser.run("document.querySelector('#compose [name=seconds]').value") == "7"
        assert browser.run("location.search") == ""
        click(browser, "#runs a")
        click(browser, ".candidate .play")
        browser.wait_for("audio.currentTime > 0.2")
    finally:
        is_loaded.set()
        worker.close()
        server.get_blocks().close(verbose=False)
