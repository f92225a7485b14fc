"""The interface for programs: runs, their audio, prompts, and Gradio's client."""

import io
import json
import shutil
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client
from helpers.tiny import RATE, codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun
from hf_jukebox.app.settings import AppSettings
from hf_jukebox.runs.contents import RunReader

from .conftest import LIMITS, App, running


def test_the_model_and_the_limits_are_described(app: App) -> None:
    answer = app.http.get("/v1/model").json()
    assert answer["model"]["levels"] == [0, 1, 2] and answer["model"]["artists"] == ["night bus", "the lanterns"]
    assert not answer["model"]["lyrics"] and answer["limits"]["seconds"] == 60
    estimate = app.http.get("/v1/estimate", params={"seconds": 10, "given": 2, "candidates": 2, "levels": "2"}).json()
    assert 0 < estimate["seconds"] < 3600


def test_a_prompt_is_continued_heard_picked_continued_upsampled_and_gone_back_to(
    app: App, prompt: str, pipe: JukeboxPipeline, recording: Path, tmp_path: Path
) -> None:
    run_id = app.make(prompt=prompt, prompt_seconds=1, seconds=1.5, candidates=2, levels=[2], seed=5)["id"]
    view = app.finish(run_id)
    assert view["prompt_seconds"] == pytest.approx(1, abs=0.01) and view["seed"] == 5
    assert [each["prompt"] for each in view["candidates"]] == ["my song.wav"] * 2
    # The same music as from Python, bit for bit.
    pipe(str(recording), prompt_length_in_s=1, audio_length_in_s=1.5, num_waveforms_per_prompt=2, levels=2,
         generator=5, output_dir=tmp_path / "same", output_type="latent")  # fmt: skip
    for audio in view["audio"]:
        expected = tmp_path / "same" / f"level_2/item_{audio['item']}.wav"
        assert app.http.get(audio["url"]).content == expected.read_bytes()
    assert "attachment" in app.http.get(view["audio"][0]["url"], params={"download": 1}).headers["content-disposition"]
    peaks = app.http.get(f"/v1/runs/{run_id}/peaks/2/0").json()
    assert peaks["final"] and len(peaks["peaks"]) == 30
    assert app.http.get(f"/v1/runs/{run_id}/peaks/2/0?first=25").json()["peaks"] == peaks["peaks"][25:]

    picked = app.act(run_id, "pick", candidate=1)
    assert picked["state"] == "finished" and len(picked["candidates"]) == 1 and picked["steps"][0]["kept"]
    app.act(run_id, "continue", seconds=2, artist="night bus")
    longer = app.finish(run_id)
    assert longer["seconds"] == pytest.approx(2, abs=0.01) and longer["candidates"][0]["artist"] == "night bus"
    app.act(run_id, "upsample")
    finest = app.finish(run_id)
    assert {audio["level"] for audio in finest["audio"]} == {0, 1, 2}
    assert [step["action"] for step in finest["steps"]] == ["sample", "pick", "continue", "upsample"]
    page = app.http.get(f"/v1/runs/{run_id}/page/", follow_redirects=True)
    assert "The command that makes it again" in page.text or "Candidate" in page.text or "The piece" in page.text
    assert app.http.get(f"/v1/runs/{run_id}/page/level_0/item_0.wav").status_code == 200

    back = app.act(run_id, "back", step=0)
    assert back["id"] != run_id and len(back["candidates"]) == 2 and back["parent"] == run_id
    assert app.http.get(back["audio"][0]["url"]).content == (tmp_path / "same/level_2/item_0.wav").read_bytes()
    assert app.act(back["id"], "pick", candidate=0)["candidates"]
    assert app.run(run_id)["steps"] == finest["steps"]  # the run itself is as it was
    assert app.http.delete(f"/v1/runs/{back['id']}").status_code == 204
    assert app.http.get(f"/v1/runs/{back['id']}").status_code == 404
    assert run_id in [run["id"] for run in app.http.get("/v1/runs").json()]


def test_audio_grows_while_it_is_sampled_and_equals_the_file(app: App) -> None:
    run_id = app.make(seconds=12, levels=[2], seed=1)["id"]
    app.wait(run_id, lambda view: bool(view["audio"]))
    heard = []
    with app.http.stream("GET", f"/v1/runs/{run_id}/audio/2/0") as answer:
        assert answer.headers["content-length"] == str(44 + 2 * (round(12 * RATE) // 128 * 128))
        for block in answer.iter_raw():
            heard.append(block)
            if len(heard) == 1:
                assert app.run(run_id)["state"] == "running"
                part = app.http.get(f"/v1/runs/{run_id}/audio/2/0", headers={"Range": "bytes=40-59"})
                assert part.status_code == 206 and len(part.content) == 20
                assert part.content == (block + bytes(60))[40:60] or len(block) < 60
    app.finish(run_id)
    final = app.http.get(f"/v1/runs/{run_id}/audio/2/0").content
    with wave.open(io.BytesIO(b"".join(heard))) as one, wave.open(io.BytesIO(final)) as other:
        assert one.readframes(10**9) == other.readframes(10**9)
    ranged = app.http.get(f"/v1/runs/{run_id}/audio/2/0", headers={"Range": "bytes=100-199"})
    assert ranged.status_code == 206 and ranged.content == final[100:200]


def test_events_follow_a_run(app: App) -> None:
    run_id = app.make(seconds=3, levels=[2])["id"]
    accept = {"Accept": "text/event-stream"}
    with app.http.stream("GET", f"/v1/runs/{run_id}?until=done", headers=accept) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        states = [json.loads(line[6:])["state"] for line in answer.iter_lines() if line.startswith("data: ")]
    assert "running" in states and states[-1] == "finished"
    with app.http.stream("GET", f"/v1/runs/{run_id}", headers={"Accept": "text/event-stream"}) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        app.http.delete(f"/v1/runs/{run_id}")
        assert "event: gone" in lines


def test_a_stopped_run_is_kept_and_resumed_with_the_same_bits(app: App, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    run_id = app.make(seconds=8, levels=[2], seed=3)["id"]
    app.wait(run_id, lambda view: view["progress"].get("seconds_done", 0) > 0.5)
    stopped = app.act(run_id, "stop")
    assert stopped["state"] == "stopped"
    assert not JukeboxRun.open(app.settings.runs / run_id).is_finished
    assert app.act(run_id, "resume")["state"] in ("queued", "running")
    app.finish(run_id)
    pipe(audio_length_in_s=8, levels=2, generator=3, output_dir=tmp_path / "whole", output_type="latent")
    assert torch.equal(
        JukeboxRun.open(app.settings.runs / run_id).codes[2], JukeboxRun.open(tmp_path / "whole").codes[2]
    )


def test_a_candidate_is_picked_while_it_is_sampled(app: App) -> None:
    run_id = app.make(seconds=6, candidates=2, levels=[2], seed=3)["id"]
    app.wait(run_id, lambda view: view["progress"].get("seconds_done", 0) > 0.2)
    app.act(run_id, "pick", candidate=1)
    view = app.finish(run_id)
    assert len(view["candidates"]) == 1 and [step["action"] for step in view["steps"]] == ["sample", "pick"]


def test_a_run_keeps_its_turn_when_a_candidate_is_picked(app: App) -> None:
    first = app.make(seconds=30, candidates=2, levels=[2], seed=3)["id"]
    app.wait(first, lambda view: view["progress"].get("seconds_done", 0) > 0.2)
    second = app.make(seconds=0.5, levels=[2])["id"]
    app.act(first, "pick", candidate=1)
    assert app.run(second)["state"] == "queued"
    view = app.wait(first, lambda view: view["state"] == "running")
    assert len(view["candidates"]) == 1 and app.run(second)["place"] == 1
    app.act(first, "stop")
    app.finish(second)


def test_what_a_run_waits_for_is_done_after_a_pick_at_its_place(app: App) -> None:
    run_id = app.make(seconds=1, candidates=2, levels=[2])["id"]
    app.finish(run_id)
    first = app.make(seconds=30, levels=[2])["id"]
    app.act(run_id, "continue", seconds=2)
    last = app.make(seconds=0.5, levels=[2])["id"]
    app.act(run_id, "pick", candidate=1)
    assert [app.run(each)["place"] for each in (run_id, last)] == [1, 2]
    assert app.http.post(f"/v1/runs/{run_id}/pick", json={"candidate": 1}).status_code == 400
    assert [app.run(each)["place"] for each in (run_id, last)] == [1, 2]  # as it was
    app.act(first, "stop")
    view = app.finish(run_id)
    assert [step["action"] for step in view["steps"]] == ["sample", "pick", "continue"]
    app.finish(last)


def test_a_run_is_continued_while_a_pick_writes_its_page(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = app.make(seconds=1, candidates=2, levels=[2])["id"]
    app.finish(run_id)
    written = threading.Event()
    monkeypatch.setattr("hf_jukebox.runs.actions.update_page", lambda run: written.wait(60))
    picking = threading.Thread(target=app.act, args=(run_id, "pick"), kwargs={"candidate": 0})
    picking.start()
    app.wait(run_id, lambda view: len(view["candidates"]) == 1)
    threading.Timer(0.3, written.set).start()
    app.act(run_id, "continue", seconds=1.5)
    picking.join()
    app.finish(run_id)


def test_a_restart_goes_on_with_the_run_in_progress_and_the_queue(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    settings = AppSettings(tmp_path / "runs", **LIMITS)
    with running(settings, pipe) as first:
        ids = [first.make(seconds=4, levels=[2], seed=seed)["id"] for seed in range(3)]
        assert first.run(ids[2])["place"] == 2
        first.act(ids[1], "stop")
        assert first.run(ids[2])["place"] == 1
        first.wait(ids[0], lambda view: view["progress"].get("seconds_done", 0) > 0.2)
    with running(settings, pipe) as second:
        second.finish(ids[0])
        second.finish(ids[2])
        assert second.run(ids[1])["state"] == "stopped"
        second.act(ids[1], "resume")
        second.finish(ids[1])


def test_what_a_stopped_run_has_is_heard_after_a_restart(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    settings = AppSettings(tmp_path / "runs", **LIMITS)
    with running(settings, pipe) as first:
        run_id = first.make(prompt="example", prompt_seconds=0.1, seconds=8, candidates=2, levels=[2], seed=3)["id"]
        first.wait(run_id, lambda view: view["progress"].get("seconds_done", 0) > 0.5)
        first.act(run_id, "stop")
    other = tiny_pipeline(seed=9)
    other(audio_length_in_s=1, levels=2, output_dir=settings.runs / "other", output_type="latent")
    shutil.rmtree(settings.runs / "other" / "level_2")
    with running(settings, pipe) as second:
        stopped = second.run(run_id)
        assert stopped["state"] == "stopped" and [audio["final"] for audio in stopped["audio"]] == [False, False]
        codes = JukeboxRun.open(settings.runs / run_id).num_filled[2]
        heard = [second.http.get(audio["url"]).content for audio in stopped["audio"]]
        assert [len(each) for each in heard] == [44 + 2 * 128 * count for count in codes]
        part = second.http.get(stopped["audio"][1]["url"], headers={"Range": "bytes=100-199"})
        assert part.status_code == 206 and part.content == heard[1][100:200]
        peaks = second.http.get(f"/v1/runs/{run_id}/peaks/2/0").json()
        assert not peaks["growing"] and len(peaks["peaks"]) == int(stopped["audio"][0]["seconds"] * 20)
        assert second.run("other")["audio"] == []  # its codes mean other sounds
        own = settings.runs / run_id / "codes"
        own.rename(tmp_path / "codes")
        own.symlink_to(tmp_path / "codes")  # nothing outside the folder is read
        assert second.run(run_id)["audio"] == []
        assert second.http.get(stopped["audio"][0]["url"]).status_code == 404
        own.unlink()
        (tmp_path / "codes").rename(own)
        second.act(run_id, "resume")
        for audio, before in zip(second.finish(run_id)["audio"], heard, strict=True):
            end = len(before) - 2 * 128 * 16  # a decoder looks some codes ahead
            assert audio["final"] and second.http.get(audio["url"]).content[44:end] == before[44:end]


def test_a_run_of_the_command_line_is_in_the_list(app: App, pipe: JukeboxPipeline) -> None:
    folder = app.settings.runs / "by-hand"
    pipe(audio_length_in_s=codes_in_s(20), levels=2, output_dir=folder, output_type="latent")
    assert {"id": "by-hand", "title": "by-hand", "state": "finished", "place": None} in app.http.get("/v1/runs").json()
    app.act("by-hand", "upsample")
    app.finish("by-hand")


def test_the_list_reads_again_only_what_has_changed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [app.finish(app.make(seconds=0.5, levels=[2])["id"])["id"] for _ in range(3)]
    (app.settings.runs / "damaged").mkdir()
    (app.settings.runs / "damaged" / "request.json").write_text("{")
    read = []
    open_run = app.worker.store.open

    def counted(run_id: str) -> RunReader | None:
        read.append(run_id)
        return open_run(run_id)

    def listed() -> dict[str, dict[str, Any]]:
        read.clear()
        return {run["id"]: run for run in app.http.get("/v1/runs").json()}

    monkeypatch.setattr(app.worker.store, "open", counted)
    before = listed()
    assert before["damaged"]["state"] == "damaged" and "request.json" in before["damaged"]["error"]
    assert listed() == before and read == []
    app.act(ids[0], "upsample")
    app.finish(ids[0])
    (app.settings.runs / ids[1] / "level_2" / "item_0.wav").unlink()
    (app.settings.runs / ids[2] / "job.json").write_text('{"title": "another title"}')
    shutil.rmtree(app.settings.runs / "damaged")
    after = listed()
    assert sorted(read) == sorted(ids) and "damaged" not in after
    assert [after[each]["state"] for each in ids] == ["finished", "stopped", "finished"]
    assert after[ids[2]]["title"] == "another title"


def test_the_client_of_gradio_samples(app: App) -> None:
    client = Client(str(app.http.base_url), verbose=False)
    job = client.submit(prompt="example", prompt_seconds=0.5, seconds=1.0, top_level_only=True, api_name="/sample")
    result = job.result(timeout=120)
    assert result["state"] == "finished" and result["audio"][0]["level"] == 2
    assert client.predict(result["id"], api_name="/state")["id"] == result["id"]
    with pytest.raises(Exception, match="36000 s are too long"):
        client.predict(seconds=36000.0, api_name="/sample")
    with pytest.raises(Exception, match="There is no run"):
        client.predict("../../etc/passwd", api_name="/state")
    client.close()


def test_the_shipped_prompt_is_that_of_the_examples(app: App) -> None:
    example = Path(__file__).parents[2] / "examples" / "prompt.wav"
    assert app.http.get("/v1/prompts/example").content == example.read_bytes()
    peaks = app.http.get("/v1/prompts/example/peaks").json()
    assert peaks["seconds"] == pytest.approx(3) and max(peaks["peaks"]) > 50
    assert np.mean(peaks["peaks"]) > 5
