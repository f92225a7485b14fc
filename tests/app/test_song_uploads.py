"""Song files that are uploaded: opened as the piece that they came from, or a sentence on why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers.tiny import RATE, codes_in_s, noise_audio, tiny_pipeline, tiny_prior
from safetensors.torch import load, save

from hf_jukebox import JukeboxPipeline, JukeboxRun, export_run
from hf_jukebox.app.settings import AppSettings
from hf_jukebox.audio import write_audio
from hf_jukebox.audio.blocks import add_data, read_data
from hf_jukebox.files.tensors import tensors_metadata

from .conftest import LIMITS, App, running


@pytest.fixture(scope="module")
def run(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with a prompt at all levels, which is not one of the app."""
    folder = tmp_path_factory.mktemp("elsewhere") / "My song"
    pipe(noise_audio(codes_in_s(4)), sampling_rate=RATE, artist="night bus", audio_length_in_s=codes_in_s(24),
         num_waveforms_per_prompt=2, generator=7, output_dir=folder, output_type="latent")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def songs(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Second candidate of the run as a file, by format."""
    folder = tmp_path_factory.mktemp("songs")
    return {name: export_run(run, name, folder, songs=[1])[0] for name in ("flac", "wav", "mp3", "ogg")}


def send(app: App, path: Path) -> dict[str, Any]:
    answer = app.http.post("/v1/prompts", params={"name": path.name}, content=path.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()


def refusal_to_open(app: App, prompt: str) -> str:
    before = set(app.settings.runs.iterdir())
    answer = app.http.post(f"/v1/prompts/{prompt}/open")
    assert answer.status_code in (400, 404) and set(app.settings.runs.iterdir()) == before
    return answer.json()["error"]


@pytest.mark.parametrize("file_format", ["flac", "wav"])
def test_a_song_file_is_opened_as_the_piece_that_it_came_from(
    app: App, run: Path, songs: dict[str, Path], file_format: str
) -> None:
    sent = send(app, songs[file_format])
    assert sent["song"] == {"seconds": pytest.approx(codes_in_s(24)), "levels": [2, 1, 0]} and sent["remark"] == ""
    answer = app.http.post(f"/v1/prompts/{sent['prompt']}/open")
    assert answer.status_code == 201, answer.text
    opened = answer.json()
    assert opened["title"] == "My song-1" and opened["candidates"][0]["artist"] == "night bus"
    assert opened["origin"] == f"Opened from My song-1.{file_format}, with its codes at levels 2, 1, 0."
    view = app.finish(opened["id"])
    assert view["origin"] == opened["origin"]
    assert view["prompt_seconds"] == pytest.approx(codes_in_s(4), abs=1e-3) and view["seed"] == 7
    for audio in view["audio"]:
        original = run / f"level_{audio['level']}" / "item_1.wav"
        assert audio["final"] and app.http.get(audio["url"]).content == original.read_bytes()
    app.act(view["id"], "continue", seconds=codes_in_s(28), levels=[2], candidates=2)
    app.finish(view["id"])
    steps = app.act(view["id"], "pick", candidate=1)["steps"]
    assert [step["action"] for step in steps] == ["sample", "continue", "pick"]
    assert JukeboxRun.open(app.settings.runs / view["id"]).codes[2].shape == (1, 28)


def test_a_sketch_is_opened_and_upsampled(app: App, pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(audio_length_in_s=codes_in_s(8), levels=2, output_dir=tmp_path / "sketch", output_type="latent")
    sent = send(app, export_run(tmp_path / "sketch")[0])
    run_id = app.http.post(f"/v1/prompts/{sent['prompt']}/open").json()["id"]
    app.finish(run_id)
    app.act(run_id, "upsample")
    assert {audio["level"] for audio in app.finish(run_id)["audio"]} == {0, 1, 2}


def test_a_file_that_has_lost_its_codes_says_so_and_is_a_prompt(
    app: App, songs: dict[str, Path], run: Path, tmp_path: Path
) -> None:
    again = {name: tmp_path / f"again.{name}" for name in ("mp3", "flac")}
    for path in again.values():
        write_anew(songs["flac"], path)
    bare = export_run(run, "flac", tmp_path / "bare", songs=[1], metadata=False)[0]
    for path in (songs["mp3"], songs["ogg"], *again.values(), bare, run / "level_0" / "item_1.wav"):
        sent = send(app, path)
        assert sent["song"] is None
        assert sent["remark"].startswith(f"{path.name} was made by hf_jukebox, but holds no codes: ")
        assert sent["remark"].endswith("; its sound is used as a prompt.")
        assert refusal_to_open(app, sent["prompt"]) == sent["remark"]
    app.finish(app.make(prompt=sent["prompt"], prompt_seconds=0.1, seconds=0.2, levels=[2])["id"])


def write_anew(source: Path, path: Path) -> None:
    """Write sound and tags to another file, as other programs do, which do not know what else a song file holds."""
    with soundfile.SoundFile(source) as song:
        audio, tags, rate = song.read(always_2d=True), song.copy_metadata(), song.samplerate
    with soundfile.SoundFile(path, "w", rate, audio.shape[1]) as again:
        for name, text in tags.items():
            setattr(again, name, text)
        again.write(audio)


def test_a_recording_like_any_other_has_no_remark(app: App, recording: Path) -> None:
    sent = send(app, recording)
    assert (sent["song"], sent["remark"]) == (None, "")
    assert refusal_to_open(app, sent["prompt"]) == "my song.wav holds no codes; its sound is used as a prompt."
    assert "There is no such prompt" in refusal_to_open(app, "0" * 32)
    for outside in ("../../etc/passwd", "..%2f..%2fetc%2fpasswd"):
        assert "There is nothing here" in refusal_to_open(app, outside)


def test_codes_of_another_model_are_named_and_refused(app: App, tmp_path: Path) -> None:
    other = tiny_pipeline(seed=9)
    other.save_pretrained(tmp_path / "other-model")
    other = JukeboxPipeline.from_pretrained(tmp_path / "other-model")
    other.set_progress_bar_config(disable=True)
    other(audio_length_in_s=codes_in_s(8), levels=2, output_dir=tmp_path / "theirs", output_type="latent")
    sent = send(app, export_run(tmp_path / "theirs")[0])
    assert sent["song"] is None
    sentence = "theirs.flac holds the codes of another model, other-model, which mean other sounds"
    assert sent["remark"].startswith(sentence)
    assert refusal_to_open(app, sent["prompt"]) == sent["remark"]


def test_damaged_and_too_long_songs_are_refused(pipe: JukeboxPipeline, songs: dict[str, Path], tmp_path: Path) -> None:
    write_audio(tmp_path / "damaged.wav", np.zeros(RATE, np.float32), RATE)
    add_data(tmp_path / "damaged.wav", b"no tensors")
    data = read_data(songs["wav"])
    assert data is not None
    tensors, metadata = load(data), tensors_metadata(data)
    write_audio(tmp_path / "short.wav", np.zeros(RATE, np.float32), RATE)
    short = {"0.codes": tensors["0.codes"][:, :-5], "0.filled": tensors["0.filled"] - 5}
    add_data(tmp_path / "short.wav", save(tensors | short, metadata))
    with running(AppSettings(tmp_path / "longer", **LIMITS), pipe) as app:
        sent = send(app, tmp_path / "short.wav")
        sentence = "short.wav is damaged: its codes do not belong to its settings; use a copy of it."
        assert refusal_to_open(app, sent["prompt"]) == sentence
    with running(AppSettings(tmp_path / "runs", **LIMITS | {"max_seconds": 0.1}), pipe) as app:
        for path, sentence in (
            (tmp_path / "damaged.wav", "damaged.wav is damaged: the codes in it cannot be read; use a copy of it; "),
            (songs["flac"], "My song-1.flac is a piece of 0 s, and this server takes 0 s at most; "),
        ):
            sent = send(app, path)
            assert sent["song"] is None and sent["remark"].startswith(sentence)
            assert str(tmp_path) not in sent["remark"]
            assert refusal_to_open(app, sent["prompt"]) == sent["remark"]


def test_a_song_of_other_priors_is_heard_and_continued_by_those_of_the_server(
    pipe: JukeboxPipeline, songs: dict[str, Path], run: Path, tmp_path: Path
) -> None:
    other = JukeboxPipeline(pipe.vqvae, prior_2=tiny_prior("tiny_prior", 20))
    other.set_progress_bar_config(disable=True)
    settings = AppSettings(tmp_path / "runs", **LIMITS)
    with running(settings, other) as app:
        sent = send(app, songs["flac"])
        opened = app.http.post(f"/v1/prompts/{sent['prompt']}/open").json()
        assert opened["state"] == "finished"
        assert opened["origin"].endswith("what comes next is sampled by a model without a name.")
        for audio in opened["audio"]:
            samples = app.http.get(audio["url"]).content[44:]
            original = (run / f"level_{audio['level']}" / "item_1.wav").read_bytes()
            assert not audio["final"] and samples == original[44 : 44 + len(samples)]
            assert len(samples) == 2 * 24 * 128
    with running(settings, other) as app:
        assert app.run(opened["id"])["state"] == "finished"
        app.act(opened["id"], "continue", seconds=codes_in_s(28), levels=[2])
        assert app.finish(opened["id"])["seconds"] == pytest.approx(codes_in_s(28), abs=1e-3)
