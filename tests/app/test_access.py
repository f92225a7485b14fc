"""Access to the server: passwords, other sites, and bodies that are too large."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.command_line import run

from hf_jukebox import JukeboxPipeline
from hf_jukebox.app.access import Access
from hf_jukebox.app.settings import AppSettings

from .conftest import LIMITS, App, running


@pytest.fixture(scope="module")
def locked(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Return a server with a token."""
    with running(AppSettings(tmp_path_factory.mktemp("locked"), token="a secret", **LIMITS), pipe) as app:
        yield app


@pytest.mark.parametrize(("path", "kind", "limit"), [
    ("/v1/runs", "application/json", 1024),
    ("/login", "multipart/form-data; boundary=x", 4),
    ("/gradio_api/queue/join", "application/json", 1024),
])  # fmt: skip
@pytest.mark.parametrize("header", ["Content-Length: 419430400", "Transfer-Encoding: chunked"])
def test_large_bodies_are_refused_before_they_are_read(app: App, path: str, kind: str, limit: int, header: str) -> None:
    start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{header}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", app.settings.port), timeout=20) as plain:
        size = 1024 * limit + 1  # no more, since the system drops an answer to what is sent after it
        plain.sendall(start + (f"{size:x}\r\n".encode() + b" " * size if "chunked" in header else b""))
        answer = b"".join(iter(lambda: plain.recv(2**16), b""))
    assert answer.split()[1] == b"413"
    assert f'{{"error": "The body of the request is larger than {limit} KiB; send a shorter one."}}'.encode() in answer


def test_guesses_of_the_token_are_slow_however_they_are_given(locked: App) -> None:
    url, answers = str(locked.http.base_url), []

    def guess(number: int) -> None:
        given = f"guess {number}"
        with httpx.Client(base_url=url, timeout=60) as http:
            if number % 3 == 0:
                answers.append(http.post("/login", data={"token": given}).status_code)
            elif number % 3 == 1:
                answers.append(http.get("/v1/model", headers={"Authorization": f"Bearer {given}"}).status_code)
            else:
                answers.append(http.get("/v1/model", params={"token": given}).status_code)

    with httpx.Client(base_url=url) as browser:
        browser.post("/login", data={"token": "a secret"})
        guesses = [threading.Thread(target=guess, args=(number,)) for number in range(60)]
        for each in guesses:
            each.start()
        assert browser.get("/v1/model").status_code == 200  # who has the cookie does not wait
        for each in guesses:
            each.join()
    assert answers.count(429) >= 20 and set(answers) == {303, 401, 429}
    assert locked.http.get("/v1/model", headers={"Authorization": "Bearer a secret"}).status_code == 200


def test_the_cookie_does_not_hold_the_token(locked: App) -> None:
    with httpx.Client(base_url=locked.http.base_url) as http:
        answer = http.get("/", params={"token": "a secret"})
        assert answer.headers["location"] == "/" and "secret" not in answer.headers["set-cookie"]
        assert http.get("/v1/model").status_code == 200
    forged = {"Cookie": "hf-jukebox-token=a secret"}
    assert locked.http.get("/v1/model", headers=forged).status_code == 401


def test_a_cookie_is_valid_after_a_restart_with_the_same_token(tmp_path: Path) -> None:
    cookie = Access(AppSettings(tmp_path, token="a secret")).cookie
    assert Access(AppSettings(tmp_path, token="a secret")).is_cookie(cookie)
    assert not Access(AppSettings(tmp_path, token="another")).is_cookie(cookie)
    keys = {Access(AppSettings(tmp_path)).page_key("run") for _ in range(2)}
    assert len(keys) == 2  # nobody can compute the key of a server without a token


def test_a_frame_without_an_origin_is_refused(app: App, recording: Path) -> None:
    def send(**headers: str) -> int:
        answer = app.http.post("/v1/prompts", content=recording.read_bytes(), headers={"Origin": "null"} | headers)
        return answer.status_code

    assert send() == send(**{"Sec-Fetch-Site": "cross-site"}) == 403  # a sandboxed frame of any site
    assert send(**{"Sec-Fetch-Site": "same-origin"}) == 201  # a page that keeps its origin back
    assert app.http.get("/").headers["referrer-policy"] == "same-origin"


def test_the_key_of_a_page_opens_nothing_else(locked: App) -> None:
    http = locked.http
    bearer = {"Authorization": "Bearer a secret"}
    made = [http.post("/v1/runs", json={"seconds": 0.5, "levels": [2]}, headers=bearer).json()["id"] for _ in range(2)]
    for run_id in made:
        http.get(f"/v1/runs/{run_id}?until=done", headers=bearer | {"Accept": "text/event-stream"})
    assert http.get(f"/v1/runs/{made[0]}/page/").status_code == 401
    page = http.get(f"/v1/runs/{made[0]}/page/", headers=bearer).headers["location"]
    opaque = {"Origin": "null"}
    sound = http.get(f"{page}level_2/item_0.wav", headers=opaque)
    assert sound.status_code == 200 and sound.headers["access-control-allow-origin"] == "*"
    assert "sandbox allow-scripts allow-downloads;" in http.get(page).headers["content-security-policy"]
    key = page.rsplit("/", 2)[1]
    for path in (f"/v1/runs/{made[1]}/page/{key}/", f"/v1/runs/{made[0]}/page/{'0' * 32}/", "/v1/runs",
                 f"/v1/runs/{made[0]}/{key}/", f"/v1/runs/{made[0]}", "/"):  # fmt: skip
        assert http.get(path, headers=opaque).status_code == 403
        assert http.get(path).status_code in (401, 303)
    assert http.delete(page, headers=opaque).status_code == 404
    old = http.get(f"/v1/runs/{made[0]}/page/{'0' * 32}/", headers=bearer)  # from before a restart
    assert old.headers["location"] == page
    without_key = http.get(f"/v1/runs/{made[0]}/page/level_2/item_0.wav", headers=bearer)
    assert without_key.content == sound.content and "access-control-allow-origin" not in without_key.headers


def test_only_the_page_of_a_run_is_shown_as_a_page(app: App) -> None:
    run_id = app.make(seconds=0.5, levels=[2])["id"]
    app.finish(run_id)
    folder = app.settings.runs / run_id
    (folder / "other.html").write_text("<p>other")
    (folder / "level_2" / "index.html").write_text("<p>other")
    for path in ("other.html", "level_2/index.html"):
        assert app.http.get(f"/v1/runs/{run_id}/page/{path}", follow_redirects=True).status_code == 404
    page = app.http.get(f"/v1/runs/{run_id}/page/index.html", follow_redirects=True)
    assert page.status_code == 200 and "<audio crossorigin " in page.text


def test_the_uploads_that_were_used_longest_ago_make_room(
    pipe: JukeboxPipeline, recording: Path, tmp_path: Path
) -> None:
    content = recording.read_bytes()
    settings = AppSettings(tmp_path, **LIMITS | {"max_upload_bytes": len(content)})
    with running(settings, pipe) as app:
        ids = [app.http.post("/v1/prompts", content=content).json()["prompt"] for _ in range(10)]
        app.make(prompt=ids[0], seconds=3, levels=[2])
        ids += [app.http.post("/v1/prompts", content=content).json()["prompt"] for _ in range(2)]
        found = [app.http.get(f"/v1/prompts/{each}").status_code == 200 for each in ids]
        assert found == [True, False, False] + 9 * [True]


@pytest.mark.parametrize("token", ["pässwort", " secret", "two\nlines"])
def test_a_token_that_cannot_be_sent_is_refused_at_the_start(token: str, tmp_path: Path) -> None:
    result = run("app", "--runs", tmp_path / "runs", "--token", token)
    assert result.exit_code == 2
    assert "--token must be of ASCII letters, digits and signs, without a space at its ends" in result.stderr
