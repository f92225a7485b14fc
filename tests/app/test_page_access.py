"""The page with a screen reader and by keyboard: what is read out, and where the focus goes."""

from pathlib import Path

import pytest
from helpers.browser import Browser

from .conftest import App
from .test_page import STATE, bytes_of, drop, open_page

pytestmark = pytest.mark.browser

LISTEN = """(() => {
    window.readOut = [];
    const live = "[role=status], [role=alert]";
    new MutationObserver((changes) => changes.forEach(({ target }) => {
        const region = (target.closest ? target : target.parentElement)?.closest(live);
        if (region?.textContent) window.readOut.push(region.textContent);
    })).observe(document.getElementById("run-view"), { subtree: true, childList: true, characterData: true });
})()"""
FOCUSED = "document.activeElement.textContent"


def press(browser: Browser, selector: str, text: str = "") -> None:
    """Press a button by keyboard, as soon as there is one with this text."""
    find = f"[...document.querySelectorAll({selector!r})].find((e) => e.textContent.includes({text!r}))"
    browser.wait_for(f"{find}?.checkVisibility()")
    browser.run(f"{find}.focus()")
    browser.press("Enter")


def test_states_are_read_out_and_the_focus_stays_with_what_was_pressed(browser: Browser, app: App) -> None:
    run_id = app.make(prompt="example", seconds=20, levels=[2], candidates=2)["id"]
    open_page(browser, f"{app.http.base_url}#{run_id}")
    browser.run(LISTEN)
    browser.wait_for(f"/level 2: \\d+ of 20 s/.test({STATE})")
    press(browser, "#run-view button", "Stop")
    browser.wait_for(f"{STATE}.startsWith('Stopped')")
    assert browser.run(FOCUSED) == "Resume"
    browser.press("Enter")
    browser.wait_for(f"{FOCUSED} === 'Stop'")
    browser.wait_for("!document.querySelector('.candidate a').href.includes('codes=')")  # what is sampled now
    press(browser, ".candidate .play")
    browser.wait_for(f"{STATE}.includes('finished')")
    assert browser.run("document.activeElement.matches('.candidate .play')")  # its cards have been made anew
    press(browser, ".candidate button", "Keep candidate 1")
    browser.wait_for("document.querySelectorAll('.candidate').length === 1")
    assert browser.run("document.activeElement.id") == "run-title"
    read = browser.run("window.readOut")
    words = {each.rstrip(".") for each in read}
    assert words <= {"Waiting to begin", "Beginning …", "Sampling level 2", "0:20, finished"} | {
        each for each in words if each.startswith(("Waiting", "Stopped"))
    }
    assert len(read) <= 10

    press(browser, ".steps button", "Go back")
    browser.wait_for("document.querySelectorAll('.candidate').length === 2")
    assert browser.run("document.activeElement.id") == "run-title" and browser.run(FOCUSED)
    browser.run("window.confirm = () => true")
    press(browser, "#run-view button", "Delete")
    browser.wait_for("location.hash === '' && document.activeElement.id === 'run'")
    assert browser.problems == []


def test_an_upload_is_seen(browser: Browser, app: App, recording: Path) -> None:
    open_page(browser, str(app.http.base_url))
    browser.run("""(() => {
        window.seen = [];
        const uploading = document.getElementById("uploading");
        const look = () => window.seen.push([uploading.checkVisibility(), uploading.innerText.trim()]);
        new MutationObserver(look).observe(uploading, { attributes: true, subtree: true });
    })()""")
    drop(browser, recording.name, bytes_of(recording))
    browser.wait_for("!document.getElementById('prompt-view').hidden")
    assert [True, "Uploading my song.wav …"] in browser.run("window.seen")
    assert not browser.run("document.getElementById('uploading').checkVisibility()")
    assert browser.problems == []
