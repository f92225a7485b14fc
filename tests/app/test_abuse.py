"""Wrong, too large, cut off or hostile requests: each gets a sentence, and the queue goes on."""

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from helpers.tiny import RATE

from hf_jukebox import JukeboxPipeline
from hf_jukebox.app.settings import AppSettings
from hf_jukebox.audio import write_audio

from .conftest import LIMITS, App, running


def files(app: App) -> set[str]:
    return {path.name for path in (app.settings.runs / ".uploads").glob("*")}


def test_twenty_requests_are_sampled_one_after_the_other(app: App) -> None:
    ids = [app.make(seconds=0.1, levels=[2], seed=seed)["id"] for seed in range(20)]
    assert len(set(ids)) == 20
    places = [app.run(run_id)["place"] for run_id in ids]
    waiting = [place for place in places if place is not None]
    assert waiting == sorted(waiting)
    for run_id in ids:
        app.finish(run_id)


def test_a_full_queue_is_refused(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    settings = AppSettings(tmp_path, **LIMITS, max_queued=2)
    with running(settings, pipe) as app:
        ids = [app.make(seconds=20, levels=[2])["id"]]
        app.wait(ids[0], lambda view: view["state"] == "running")
        ids += [app.make(seconds=0.5, levels=[2])["id"] for _ in range(2)]
        answer = app.http.post("/v1/runs", json={"seconds": 0.5})
        assert answer.status_code == 409 and "2 runs are waiting, which is the limit" in answer.json()["error"]
        assert {run["id"] for run in app.http.get("/v1/runs").json()} == set(ids)
        app.act(ids[0], "stop")
        for run_id in ids[1:]:
            app.finish(run_id)


@pytest.mark.parametrize(("body", "sentence"), [
    ({"seconds": 36000}, "36000 s are too long; ask for at most 60 s."),
    ({"seconds": -1}, "seconds: Input should be greater than 0."),
    ({"seconds": "a lot"}, "seconds: Input should be a valid number"),
    ({"candidates": 99}, "99 candidates are too many; ask for at most 3."),
    ({"levels": [7]}, "Level 7 has no prior in this pipeline; `levels` may be [0, 1, 2]."),
    ({"prompt": "../../etc/passwd"}, "There is no such prompt; upload it again."),
    ({"prompt": "0" * 32}, "There is no such prompt; upload it again."),
    ({"temperature": 0}, "temperature: Input should be greater than 0."),
    ({"output_dir": "/etc"}, "output_dir: Extra inputs are not permitted."),
    ({"seed": -1}, "seed: Input should be greater than or equal to 0."),
])  # fmt: skip
def test_wrong_requests_are_refused_with_a_sentence(app: App, body: dict[str, object], sentence: str) -> None:
    answer = app.http.post("/v1/runs", json=body)
    assert answer.status_code in (400, 404) and sentence in answer.json()["error"]


def test_what_only_the_model_can_refuse_is_shown_with_the_run(app: App) -> None:
    run_id = app.make(seconds=0.001, levels=[2])["id"]
    view = app.wait(run_id, lambda view: view["state"] == "failed")
    assert "the shortest piece takes" in view["error"]
    assert app.http.delete(f"/v1/runs/{run_id}").status_code == 204
    app.finish(app.make(seconds=0.5, levels=[2])["id"])


@pytest.mark.parametrize("run_id", [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e", ".uploads", ".live", "a/../../b", "nothing", "a%00b",
    "x" * 300,
])  # fmt: skip
@pytest.mark.parametrize("path", ["", "/audio/2/0", "/peaks/2/0", "/page/", "/page/../../../etc/passwd"])
def test_no_id_leads_out_of_the_folder(app: App, run_id: str, path: str) -> None:
    target = f"/v1/runs/{run_id}{path}"
    with socket.create_connection(("127.0.0.1", app.settings.port)) as plain:  # no client tidies the path up
        plain.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: plain.recv(2**16), b""))
    assert answer.split()[1] in (b"404", b"400") and b"root:" not in answer
    assert app.http.delete(f"/v1/runs/{run_id}").status_code in (404, 405)
    assert app.settings.runs.is_dir()


def test_only_sound_and_the_page_are_read_from_a_run(app: App) -> None:
    run_id = app.finish(app.make(seconds=0.5, levels=[2])["id"])["id"]
    folder = app.settings.runs / run_id
    os.symlink("/etc/passwd", folder / "link.wav")
    for path in ("request.json", "job.json", "link.wav", "codes/level_2.safetensors", "..%2f..%2fetc/passwd"):
        assert app.http.get(f"/v1/runs/{run_id}/page/{path}").status_code == 404
    os.symlink("/etc", app.settings.runs / "linked")
    assert app.http.get("/v1/runs/linked").status_code == 404
    assert app.http.delete("/v1/runs/linked").status_code == 404


def test_gradio_gives_no_other_way_in(app: App) -> None:
    for path in ("/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/monitoring",
                 "/gradio_api/proxy=http://localhost", "/gradio_api/runs", "/docs", "/openapi.json"):  # fmt: skip
        assert app.http.get(path).status_code == 404
        assert app.http.post(path, files={"files": b"x"}).status_code == 404


def test_a_text_named_wav_is_refused(app: App) -> None:
    before = files(app)
    answer = app.http.post("/v1/prompts", params={"name": "song.wav"}, content=b"This is no sound.\n" * 100)
    sentence = "song.wav is not a recording that can be read; give a wav, flac, ogg or mp3 file."
    assert answer.status_code == 400 and answer.json()["error"] == sentence
    assert app.http.post("/v1/prompts", params={"name": "../../x.wav"}, content=b"").status_code == 400
    assert files(app) == before


def test_a_recording_that_is_too_long_is_refused(app: App, tmp_path: Path) -> None:
    write_audio(tmp_path / "long.wav", np.zeros(21 * RATE, np.float32), RATE)
    answer = app.http.post("/v1/prompts", params={"name": "long.wav"}, content=(tmp_path / "long.wav").read_bytes())
    assert answer.status_code == 400 and "long.wav lasts 21 s; give at most 20 s" in answer.json()["error"]


def test_two_gigabytes_are_refused_before_they_are_sent(app: App) -> None:
    before = files(app)
    with socket.create_connection(("127.0.0.1", app.settings.port)) as plain:
        plain.sendall(
            b"POST /v1/prompts?name=a.wav HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2147483648\r\n\r\nRIFF"
        )
        answer = b"".join(iter(lambda: plain.recv(2**16), b""))
    assert answer.split()[1] == b"413" and b"The recording is larger than 1 MiB" in answer

    def blocks():  # without a length: refused as soon as it is too much
        for _ in range(2048):
            yield bytes(2**20)

    try:
        answer = app.http.post("/v1/prompts", params={"name": "a.wav"}, content=blocks())
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # the server has closed the connection while we sent
    assert files(app) == before


def test_an_upload_that_is_cut_off_leaves_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    before = files(app)
    with socket.create_connection(("127.0.0.1", app.settings.port)) as plain:
        plain.sendall(
            b"POST /v1/prompts?name=half.wav HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\nRIFF"
        )
    for _ in range(500):
        if "was cut off" in caplog.text:
            break
        app.http.get("/v1/model")
    assert "The upload of 'half.wav' was cut off" in caplog.text and files(app) == before


def test_other_sites_and_other_names_are_refused(app: App) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = app.http.post("/v1/runs", json={}, headers=headers)
        assert answer.status_code == 403
    own = {"Origin": str(app.http.base_url).rstrip("/")}
    assert app.http.get("/v1/model", headers=own).status_code == 200
    # A form of another site cannot send JSON without asking first, and anything else is not understood.
    assert (
        app.http.post("/v1/runs", content='{"seconds": 1}', headers={"Content-Type": "text/plain"}).status_code == 400
    )


def test_without_the_token_there_is_only_the_login(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    settings = AppSettings(tmp_path, host="0.0.0.0", token="a secret", **LIMITS)
    with running(settings, pipe) as app:
        http = app.http
        assert [http.get(path).status_code for path in ("/v1/runs", "/config", "/static/main.js")] == [401] * 3
        assert http.get("/").headers["location"] == "/login" and http.get("/login").status_code == 200
        assert http.get("/v1/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert http.get("/v1/runs", headers={"Authorization": "Bearer a secret"}).status_code == 200
        assert http.post("/login", data={"token": "wrong"}).headers["location"] == "/login?wrong=1"
        answer = http.post("/login", data={"token": "a secret"})
        assert answer.headers["location"] == "/" and "HttpOnly" in answer.headers["set-cookie"]
        assert http.get("/v1/runs").status_code == 200  # by the cookie
        other = httpx.Client(base_url=http.base_url)
        assert other.get("/?token=a secret").headers["location"] == "/"
        assert other.get("/v1/runs").status_code == 200


def test_what_cannot_be_done_now_is_said(app: App) -> None:
    run_id = app.make(seconds=20, levels=[2])["id"]
    app.wait(run_id, lambda view: view["state"] == "running")
    for action, body in (("continue", {"seconds": 30}), ("upsample", {}), ("resume", {})):
        answer = app.http.post(f"/v1/runs/{run_id}/{action}", json=body)
        assert answer.status_code == 409, action
    app.act(run_id, "stop")
    answer = app.http.post(f"/v1/runs/{run_id}/pick", json={"candidate": 4})
    assert answer.status_code == 400 and "holds one song" in answer.json()["error"]
    answer = app.http.post(f"/v1/runs/{run_id}/back", json={"step": 0})
    assert answer.status_code == 404 and "was not kept" in answer.json()["error"]
    assert app.http.delete(f"/v1/runs/{run_id}").status_code == 204


@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("OPTIONS", "/v1/runs", "", 405),
    ("PUT", "/login", "", 405),
    ("POST", "/v1/runs", '{"seed": ' + "9" * 5000 + "}", 400),
    ("POST", "/v1/runs", "[" * 100_000, 400),
    ("POST", "/v1/runs", '{"lyrics": ' + "[" * 900 + "]" * 900 + "}", 400),
    ("POST", "/v1/runs", '{"seconds": 1e308}', 400),
    ("POST", "/v1/runs", '{"candidates": ' + "9" * 4000 + "}", 400),
    ("GET", "/v1/runs/RUN/audio/" + "9" * 4000 + "/0", "", 404),
    ("GET", "/v1/runs/RUN/page/a%00b.wav", "", 404),
    ("GET", "/v1/runs/RUN/page/" + "a" * 300 + ".wav", "", 404),
])  # fmt: skip
def test_errors_are_one_short_sentence_in_json(app: App, method: str, path: str, body: str, status: int) -> None:
    run_id = next((each["id"] for each in app.http.get("/v1/runs").json() if each["state"] == "finished"), None)
    if run_id is None:
        run_id = app.finish(app.make(seconds=0.5, levels=[2])["id"])["id"]
    headers = {"Content-Type": "application/json"} if body else {}
    answer = app.http.request(method, path.replace("RUN", run_id), content=body, headers=headers)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert len(sentence) < 200 and sentence.endswith(".") and str(app.settings.runs) not in sentence
    assert "Errno" not in sentence and "\n" not in sentence


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.htm", "x.txt", "x"])
def test_an_upload_is_never_shown_as_a_page(app: App, recording: Path, name: str) -> None:
    sent = app.http.post("/v1/prompts", params={"name": name}, content=recording.read_bytes()).json()
    answer = app.http.get(f"/v1/prompts/{sent['prompt']}")
    assert answer.headers["content-type"] == "application/octet-stream" and answer.content == recording.read_bytes()
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_folders_with_unusual_names_are_heard_saved_and_listed(app: App) -> None:
    run_id = app.finish(app.make(seconds=0.5, levels=[2])["id"])["id"]
    names = ["Rock & Roll #1", "日本語", "100% sure"]
    for name in names:
        shutil.copytree(app.settings.runs / run_id, app.settings.runs / name)
    shutil.copytree(app.settings.runs / run_id, app.settings.runs / os.fsdecode(b"caf\xe9"))
    assert {*names, run_id} <= {run["id"] for run in app.http.get("/v1/runs").json()}
    expected = (app.settings.runs / run_id / "level_2/item_0.wav").read_bytes()
    for name in names:
        url = app.run(quote(name, safe=""))["audio"][0]["url"]
        saved = app.http.get(url + "&download=1")
        assert saved.content == expected
        assert quote(name, safe="") in saved.headers["content-disposition"] or name.isascii()
        page = app.http.get(f"/v1/runs/{quote(name, safe='')}/page/", follow_redirects=True)
        assert page.status_code == 200
