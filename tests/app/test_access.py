"""Access to the server: passwords, other sites, and bodies that are too large."""

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from hf_jukebox import JukeboxPipeline
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
