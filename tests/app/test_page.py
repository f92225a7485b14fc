"""The page in a real browser: a whole session, by mouse and by keyboard, and what every page must be."""

import base64
import lzma
from pathlib import Path

import pytest
from helpers.app_process import AppProcess
from helpers.browser import Browser
from helpers.ports import free_port

from hf_jukebox import export_run

from .conftest import App

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PROMPT = ROOT / "examples" / "prompt.wav"
AXE = lzma.decompress((ROOT / "tests/fixtures/axe/axe.min.js.xz").read_bytes()).decode()
STATE = "document.querySelector('.run-head .state').textContent"


def open_page(browser: Browser, url: str) -> None:
    browser.open("about:blank")  # another fragment of the same page would not load it again
    browser.problems.clear()
    browser.open(url)
    browser.wait_for("document.documentElement.dataset.ready")


def click(browser: Browser, selector: str, text: str = "") -> None:
    """Click the first element that matches and holds a text, as soon as there is one."""
    find = f"[...document.querySelectorAll({selector!r})].find((e) => e.textContent.includes({text!r}))"
    browser.wait_for(f"{find}?.checkVisibility()")
    x, y = browser.run(f"""(() => {{
        const element = {find};
        element.scrollIntoView({{ block: "center", behavior: "instant" }});
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }})()""")
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def fill(browser: Browser, selector: str, value: str) -> None:
    browser.wait_for(f"document.querySelector({selector!r})")
    browser.run(f"document.querySelector({selector!r}).focus()")  # a click opens the list of names over the page
    browser.type(value)


def drop(browser: Browser, name: str, content: str) -> None:
    """Drop a file whose content an expression gives."""
    browser.run(f"""(async () => {{
        const transfer = new DataTransfer();
        transfer.items.add(new File([{content}], {name!r}));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));
    }})()""")


def bytes_of(path: Path) -> str:
    """Return an expression for the content of a file."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"Uint8Array.from(atob({content!r}), (each) => each.charCodeAt())"


def test_a_session_from_the_prompt_to_the_download(browser: Browser, tmp_path: Path) -> None:
    runs, port = tmp_path / "runs", free_port()
    browser.look()
    with AppProcess(runs, "--port", port) as server:
        open_page(browser, server.url)
        drop(browser, "prompt.wav", "await (await fetch('/v1/prompts/example')).arrayBuffer()")
        browser.wait_for("document.getElementById('prompt-end-shown').textContent === '3.00 s'")
        fill(browser, "#compose [name=seconds]", "20")
        browser.wait_for("document.getElementById('estimate').textContent.startsWith('takes about')")
        click(browser, "#compose button", "Make music")

        # The top level is heard while it is sampled.
        click(browser, ".candidate .play")
        browser.wait_for("audio.currentTime > 0.2")
        first = browser.run("audio.currentTime")
        browser.wait_for(f"audio.currentTime > {first} + 0.5")
        assert "of 23 s" in browser.run(STATE)
        assert browser.run("audio.duration") == pytest.approx(23, abs=0.02)
        browser.wait_for(f"{STATE}.includes('finished')")

        click(browser, "button", "Keep candidate 1")
        browser.wait_for("document.querySelectorAll('.candidate').length === 1")
        fill(browser, "#run-view [name=genre]", "house")
        fill(browser, "#run-view [name=more]", "20")
        click(browser, "#run-view button", "Continue")
        browser.wait_for(f"{STATE}.includes('of 43 s')")
        click(browser, "#run-view button", "Stop")
        browser.wait_for(f"{STATE}.startsWith('Stopped')")
        run_id = browser.run("location.hash.slice(1)")
        server.kill()

    with AppProcess(runs, "--port", port) as server:  # which other tests have not taken meanwhile
        open_page(browser, f"{server.url}#{run_id}")
        browser.wait_for(f"{STATE}.startsWith('Stopped')")
        click(browser, ".candidate .play")  # what it has is heard before it is finished
        browser.wait_for("audio.currentTime > 0.2")
        click(browser, "#run-view button", "Resume")
        browser.wait_for(f"{STATE}.startsWith('0:43, finished')")
        steps = browser.run("[...document.querySelectorAll('.steps li')].map((e) => e.firstChild.textContent)")
        assert steps[1:] == ["Kept candidate 1", "Continued to 42.99 s (house)"]
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        click(browser, ".candidate a", "Save")
        saved = tmp_path / f"{run_id}-candidate-0-level-2.wav"
        for _ in range(200):
            if saved.is_file():
                break
            browser.run("new Promise((resolve) => setTimeout(resolve, 50))")
        assert saved.read_bytes() == (runs / run_id / "level_2/item_0.wav").read_bytes()
        click(browser, ".steps button", "Go back")
        browser.wait_for("document.querySelectorAll('.candidate').length === 2")
        assert browser.run("location.hash.slice(1)") != run_id
        assert browser.problems == [] and "Traceback" not in server.log.read_text()


def test_the_keyboard_alone_is_enough(browser: Browser, app: App) -> None:
    browser.look(width=390, dark=True)
    open_page(browser, str(app.http.base_url))

    def go_to(selector: str) -> None:
        for _ in range(60):
            if browser.run(f"document.activeElement.matches({selector!r})"):
                return
            browser.press("Tab")
        raise AssertionError(f"{selector} cannot be reached")

    go_to("#use-example")
    browser.press("Enter")
    browser.wait_for("!document.getElementById('prompt-view').hidden")
    go_to("#prompt-end")
    before = float(browser.run("document.activeElement.value"))
    for _ in range(5):
        browser.press("ArrowLeft")
    assert float(browser.run("document.activeElement.value")) == pytest.approx(before - 0.05)
    go_to("#compose [name=genre]")
    browser.type("deep house")
    go_to("#compose [name=seconds]")
    browser.type("12")
    go_to("#compose [type=submit]")
    browser.press("Enter")
    browser.wait_for("document.querySelector('.candidate .play')")
    assert browser.run("document.activeElement.id") == "run"
    go_to(".candidate .play")
    browser.press(" ")
    browser.wait_for("!audio.paused && audio.currentTime > 0.1")
    browser.press(" ")
    browser.wait_for("audio.paused")
    browser.wait_for(f"{STATE}.includes('finished')")
    go_to(".candidate input")
    before = float(browser.run("document.activeElement.value"))
    browser.press("ArrowRight")
    browser.wait_for(f"document.activeElement.value >= {before} + 1.9")
    go_to(".candidate .actions button:not(.play)")
    browser.press("Enter")
    browser.wait_for("document.querySelectorAll('.candidate').length === 1")
    go_to("#run-view form [name=more]")
    browser.type("1")
    browser.press("Enter")
    browser.wait_for("document.querySelectorAll('.steps li').length === 3")
    browser.wait_for(f"{STATE}.includes('finished')")
    assert browser.problems == []


@pytest.fixture(scope="module")
def finished(app: App) -> str:
    """Return the address of a run with several steps."""
    run_id = app.make(prompt="example", prompt_seconds=1, seconds=2, candidates=2, levels=[2])["id"]
    app.finish(run_id)
    app.act(run_id, "pick", candidate=0)
    app.act(run_id, "continue", seconds=3, candidates=2, genre="rock")
    app.finish(run_id)
    app.act(run_id, "upsample")
    app.finish(run_id)
    return f"{app.http.base_url}#{run_id}"


def test_a_song_file_is_dropped_and_opens_as_its_piece(
    browser: Browser, app: App, finished: str, tmp_path: Path
) -> None:
    run = app.settings.runs / finished.rpartition("#")[2]
    mp3, flac = (export_run(run, name, tmp_path, songs=[1])[0] for name in ("mp3", "flac"))
    browser.look()
    open_page(browser, str(app.http.base_url))
    drop(browser, "my song.mp3", bytes_of(mp3))
    remark = "document.getElementById('prompt-remark').textContent"
    browser.wait_for(f"{remark}.startsWith('my song.mp3 was made by hf_jukebox, but holds no codes')")
    drop(browser, "my song.flac", bytes_of(flac))
    browser.wait_for("document.getElementById('run-title').textContent === 'my song'")
    assert browser.run("document.querySelector('.run-head .hint').textContent") == (
        "Opened from my song.flac, with its codes at levels 2, 1, 0."
    )
    browser.wait_for(f"{STATE}.startsWith('0:03, finished')")
    fill(browser, "#run-view [name=more]", "1")
    click(browser, "#run-view button", "Continue")
    browser.wait_for(f"{STATE}.startsWith('0:04, finished')")
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(browser: Browser, app: App, finished: str, width: int, dark: bool) -> None:
    browser.look(width=width, dark=dark)
    pages = [finished, str(app.http.base_url), finished.replace("#", "/v1/runs/").replace("//v1", "/v1") + "/page/"]
    for page in pages:
        browser.open("about:blank")
        browser.open(page)
        if page != pages[2]:
            browser.wait_for("document.documentElement.dataset.ready")
        if page == pages[0]:
            browser.wait_for("document.querySelectorAll('.steps li').length === 4")
            click(browser, "#use-example")
            browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        browser.run(AXE)
        found = browser.run(
            "axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) =>"
            " [impact, id, nodes.map((node) => node.html)]))"
        )
        assert [each for each in found if each[0] in ("serious", "critical")] == [], page


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, finished: str, width: int) -> None:
    browser.look(width=width)
    open_page(browser, finished)
    browser.wait_for("document.querySelectorAll('.steps li').length === 4")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.problems == []


def test_only_what_the_model_uses_is_shown(browser: Browser, finished: str) -> None:
    browser.look()
    open_page(browser, finished)
    names = browser.run(
        "[...document.querySelectorAll('#compose [list]')].map((e) => [...e.list.options].map((o) => o.value))"
    )
    assert names == [["night bus", "the lanterns"], ["deep house", "rock"]]
    assert browser.run("document.querySelector('#compose [name=lyrics]')") is None
    browser.wait_for("document.querySelector('#run-view form')")
    assert not browser.run("document.body.textContent.includes('Upsample to all levels')")  # it has all


def test_levels_and_candidates_are_switched_at_the_same_place(browser: Browser, finished: str) -> None:
    browser.look()
    open_page(browser, finished)
    click(browser, ".candidate:nth-of-type(1) .play")
    browser.wait_for("audio.currentTime > 0.3")
    click(browser, ".candidate:nth-of-type(2) .play")
    browser.wait_for("audio.src.includes('/audio/2/1') && audio.currentTime > 0.3 && !audio.paused")
    click(browser, ".levels input[value='0']")
    browser.wait_for("audio.src.includes('/audio/0/1') && audio.currentTime > 0.3 && !audio.paused")
    assert browser.problems == []


def test_what_is_wrong_is_said_on_the_page(browser: Browser, app: App, finished: str) -> None:
    browser.look()
    open_page(browser, finished)
    error = "document.getElementById('compose-error').textContent"
    drop(browser, "song.wav", "'This is no sound.'")
    browser.wait_for(f"{error}.startsWith('song.wav is not a recording that can be read')")
    drop(browser, "huge.wav", "new Uint8Array(2 ** 20 + 1)")
    browser.wait_for(f"{error} === 'huge.wav is larger than 1 MiB, the limit of this server.'")
    browser.run("document.querySelector('#compose [name=seconds]').removeAttribute('max')")
    fill(browser, "#compose [name=seconds]", "36000")
    click(browser, "#compose button", "Make music")
    browser.wait_for(f"{error} === '36000 s are too long; ask for at most 60 s.'")
    fill(browser, "#compose [name=seconds]", "1")
    fill(browser, "#compose [name=artist]", "nobody")
    assert browser.run("document.querySelector('#compose [name=artist]').validationMessage").startswith(
        "The model does"
    )


def test_two_browsers_share_the_queue(browser: Browser, app: App, tmp_path: Path) -> None:
    browser.look()
    with Browser(tmp_path / "other") as other:
        other.look()
        first = app.make(seconds=60, levels=[2], candidates=3, title="the first")["id"]
        second = app.make(seconds=1, levels=[2], title="the second")["id"]
        open_page(browser, f"{app.http.base_url}#{first}")
        open_page(other, f"{app.http.base_url}#{second}")
        other.wait_for(f"{STATE} === 'Waiting: 1 before it.'")
        other.wait_for("document.querySelector('#runs a[aria-current]').textContent.includes('the second')")
        browser.wait_for(f"{STATE}.startsWith('Sampling level 2')")
        click(browser, "#run-view button", "Stop")
        other.wait_for(f"{STATE}.includes('finished')")
        browser.wait_for(f"{STATE}.startsWith('Stopped')")
        browser.run("window.confirm = () => true")
        click(browser, "#run-view button", "Delete")
        other.wait_for("!document.getElementById('runs').textContent.includes('the first')")
        assert browser.problems == other.problems == []
