"""Run folders: their content, the steps that change them, and the errors for damaged ones."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from helpers.tiny import TOP_HOP, codes_in_s, noise_audio, tiny_pipeline
from safetensors.torch import load_file

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress, SongRequest, pick_candidate
from hf_jukebox.audio import check_wav_length, io
from hf_jukebox.runs import folder as run_folder
from hf_jukebox.runs.record import FORMAT_VERSION

pytestmark = pytest.mark.usefixtures("no_fsync")

SHORT: dict[str, Any] = {"audio_length_in_s": codes_in_s(6), "num_waveforms_per_prompt": 3}


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of all files but the page, which can be regenerated."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "index.html")
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def stopped_run(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three songs that was stopped in the middle of level 1."""

    def early(progress: SamplingProgress) -> bool:
        return progress.level == 2 or progress.filled < 9

    folder = tmp_path_factory.mktemp("stopped") / "run"
    pipe(output_dir=folder, output_type="latent", generator=seeded(), callback=early, **SHORT)
    return folder


@pytest.fixture
def unfinished(stopped_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped_run, tmp_path / "unfinished")


@pytest.fixture(scope="module")
def whole(pipe: JukeboxPipeline) -> list[torch.Tensor]:
    """Return the codes of the run that was not stopped."""
    return pipe(generator=seeded(), output_type="latent", **SHORT).codes


def test_a_run_is_a_folder(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    prompt = noise_audio(codes_in_s(3))
    out = pipe(prompt, artist="night bus", lyrics="<b>la</b>", temperature=0.9, output_dir=tmp_path / "run", **SHORT)
    run = JukeboxRun.open(tmp_path / "run")
    assert run.is_finished and run.sampling_rate == pipe.sampling_rate
    assert all(torch.equal(a, b) for a, b in zip(run.codes, out.codes, strict=True))
    assert run.num_filled == [[96] * 3, [24] * 3, [6] * 3]
    assert [list(paths) for paths in run.audio_paths().values()] == [
        [tmp_path / "run" / f"level_{level}" / f"item_{item}.wav" for item in range(3)] for level in range(3)
    ]
    samples, rate = soundfile.read(run.audio_path(0, 1), dtype="float32")
    assert rate == pipe.sampling_rate and abs(samples - out.audios[1]).max() < 1e-4
    record = json.loads((tmp_path / "run" / "request.json").read_text())
    assert record["format_version"] == FORMAT_VERSION
    (step,) = record["steps"]
    assert step["action"] == "sample" and step["known"] == [[48] * 3, [12] * 3, [3] * 3]
    assert step["request"]["songs"][0]["artist"] == "night bus" and step["request"]["songs"][0]["lyrics"] == "<b>la</b>"
    assert set(step["model"]["parts"]) == {"vqvae", "prior_0", "prior_1", "prior_2"}
    codes = load_file(tmp_path / "run" / "codes" / "level_2.safetensors")["codes"]
    assert torch.equal(codes.long(), out.codes[2])


def test_latent_output_still_writes_the_audio(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    out = pipe(levels=2, output_dir=tmp_path / "run", output_type="latent", **SHORT)
    assert out.audios is None and out.codes[2].shape == (3, 6)
    assert len(JukeboxRun.open(tmp_path / "run").audio_paths()[2]) == 3


def test_a_folder_with_a_run_is_not_overwritten(pipe: JukeboxPipeline, unfinished: Path) -> None:
    before = snapshot(unfinished)
    with pytest.raises(FileExistsError, match="hf-jukebox resume"):
        pipe(output_dir=unfinished, **SHORT)
    assert snapshot(unfinished) == before
    pipe.resume_run(unfinished, output_type="latent")
    with pytest.raises(FileExistsError, match=r"finished run.*hf-jukebox continue"):
        pipe(output_dir=unfinished, **SHORT)


def test_a_folder_with_audio_or_codes_of_something_else_is_refused(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    pipe(generator=seeded(1), **SHORT).save(folder)
    before = snapshot(folder)
    with pytest.raises(FileExistsError, match=r"music holds no run but level_0.item_0\.wav"):
        pipe(output_dir=folder, **SHORT)
    with pytest.raises(FileExistsError, match="music holds no run but"):
        pipe.sample_songs([SongRequest("music", seconds=codes_in_s(6))], tmp_path)
    assert snapshot(folder) == before and not (tmp_path / "request.json").exists()


def test_a_page_of_something_else_is_not_replaced(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my site")
    with pytest.raises(FileExistsError, match=r"holds no run but index\.html, which a new run would take .* replace"):
        pipe(output_dir=tmp_path, **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


@pytest.mark.parametrize("name", ["codes", "state"])
def test_windows_and_codes_that_have_lost_their_run_are_refused(
    pipe: JukeboxPipeline, unfinished: Path, name: str
) -> None:
    for path in unfinished.rglob("*"):
        if path.is_file() and path.parent.name != name:
            path.unlink()
    before = snapshot(unfinished)
    with pytest.raises(FileExistsError, match=f"unfinished holds no run but {name}/level_1.*; move that away"):
        pipe(output_dir=unfinished, **SHORT)
    assert snapshot(unfinished) == before


def test_codes_of_an_interrupted_creation_are_not_adopted(
    pipe: JukeboxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_power(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_steps", cut_power)
        with pytest.raises(KeyboardInterrupt):
            pipe(noise_audio(codes_in_s(3)), output_dir=tmp_path / "run", **SHORT)
    assert list((tmp_path / "run" / "codes").iterdir()) and not (tmp_path / "run" / "request.json").exists()
    out = pipe(output_dir=tmp_path / "run", generator=seeded(), output_type="latent", **SHORT)
    whole = pipe(generator=seeded(), output_type="latent", **SHORT)
    assert all(torch.equal(a, b) for a, b in zip(out.codes, whole.codes, strict=True))
    assert JukeboxRun.open(tmp_path / "run").step.known == [[0] * 3] * 3
    assert not (tmp_path / "run" / ".new").exists()


def test_bad_input_leaves_no_folder(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="greedily"):
        pipe(output_dir=tmp_path / "run", temperature=0, **SHORT)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        pipe.resume_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_restores_lost_audio(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(levels=2, output_dir=tmp_path / "run", **SHORT)
    path = JukeboxRun.open(tmp_path / "run").audio_path(2, 1)
    content = path.read_bytes()
    path.unlink()
    assert JukeboxRun.open(tmp_path / "run").audio_paths() == {}
    pipe.resume_run(tmp_path / "run")
    assert path.read_bytes() == content


# Damage --------------------------------------------------------------------------------------------------------------


def check_refused(pipe: JukeboxPipeline, folder: Path, kind: type[Exception], message: str) -> None:
    """Check that every command that would continue is refused in one sentence, and that nothing is changed."""
    before = snapshot(folder)
    for command in (pipe.resume_run, pipe.upsample_run, lambda place: pipe.continue_run(place, 1.0)):
        with pytest.raises(kind, match=message) as error:
            command(folder)
        assert "\n" not in str(error.value)
    assert snapshot(folder) == before


@pytest.mark.parametrize("name", ["codes/level_2.safetensors", "codes/level_1.safetensors"])
@pytest.mark.parametrize("size", [0, 5, 90])
def test_truncated_codes_are_refused(pipe: JukeboxPipeline, unfinished: Path, name: str, size: int) -> None:
    path = unfinished / name
    path.write_bytes(path.read_bytes()[:size])
    check_refused(pipe, unfinished, ValueError, f"{path.name} is damaged or cut short")


def test_truncated_snapshots_are_refused_until_removed(
    pipe: JukeboxPipeline, unfinished: Path, whole: list[torch.Tensor]
) -> None:
    (path,) = (unfinished / "state").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    before = snapshot(unfinished)
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*remove it"):
        pipe.resume_run(unfinished)
    assert snapshot(unfinished) == before
    path.unlink()  # as the message says: the window is sampled again from its start
    resumed = pipe.resume_run(unfinished, output_type="latent")
    assert all(torch.equal(a, b) for a, b in zip(resumed.codes, whole, strict=True))


def test_missing_codes_are_refused(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(noise_audio(codes_in_s(3)), output_dir=tmp_path, output_type="latent", levels=2, **SHORT)
    (tmp_path / "codes" / "level_2.safetensors").unlink()
    check_refused(pipe, tmp_path, ValueError, "level_2.safetensors does not hold the codes")


def test_a_damaged_request_is_refused(pipe: JukeboxPipeline, unfinished: Path) -> None:
    path = unfinished / "request.json"
    content = path.read_text()
    path.write_text(content[: len(content) // 2])
    check_refused(pipe, unfinished, ValueError, "request.json is damaged")
    path.write_text(content.replace('"top_codes"', '"top_notes"'))
    check_refused(pipe, unfinished, ValueError, "request.json is damaged")


def test_a_run_of_a_newer_version_is_refused(pipe: JukeboxPipeline, unfinished: Path) -> None:
    path = unfinished / "request.json"
    path.write_text(path.read_text().replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 99'))
    check_refused(pipe, unfinished, ValueError, "written by a newer hf_jukebox.*update")


def test_another_model_is_refused(pipe: JukeboxPipeline, unfinished: Path) -> None:
    before = snapshot(unfinished)
    with pytest.raises(ValueError, match="sampled with another model: vqvae, prior_0, prior_1, prior_2 differ"):
        tiny_pipeline("tiny_labelled_prior", seed=5).resume_run(unfinished)
    mixed = tiny_pipeline("tiny_labelled_prior", seed=0)
    mixed.register_modules(prior_1=tiny_pipeline(seed=9).prior_1)
    with pytest.raises(ValueError, match="another model: prior_1 differ"):
        mixed.resume_run(unfinished)
    with pytest.raises(ValueError, match=r"Level 0 has no prior"):
        JukeboxPipeline(pipe.vqvae, prior_1=pipe.prior_1, prior_2=pipe.prior_2).resume_run(unfinished)
    assert snapshot(unfinished) == before


def test_the_same_model_in_another_precision_is_the_same(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "model")
    half = JukeboxPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16")
    assert half.model_record().parts == pipe.model_record().parts
    assert half.model_record().dtype == "torch.bfloat16"


def edit(folder: Path, **model: Any) -> None:
    """Change what a run records of its model, in the form of earlier versions, which knew one precision."""
    path = folder / "request.json"
    content = json.loads(path.read_text())
    del content["steps"][-1]["model"]["priors"]
    content["steps"][-1]["model"] |= model
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("recorded", "how", "instead"),
    [
        ({"is_compiled": True}, "with a compiled step", "compile it"),
        ({"dtype": "torch.bfloat16"}, "in bfloat16", "load the model with `dtype='bfloat16'`"),
        (
            {"dtype": "float16", "is_compiled": True},
            "in float16 and with a compiled step",
            "load the model with `dtype='float16'` and compile it",
        ),
    ],
)
def test_going_on_otherwise_than_a_run_began_is_said(
    recorded: dict[str, Any],
    how: str,
    instead: str,
    pipe: JukeboxPipeline,
    unfinished: Path,
    whole: list[torch.Tensor],
) -> None:
    edit(unfinished, **recorded)
    with pytest.warns(UserWarning, match=f"unfinished was sampled {how}, so .*; {instead} to get those"):
        codes = pipe.resume_run(unfinished, output_type="latent").codes
    assert all(torch.equal(a, b) for a, b in zip(codes, whole, strict=True))  # in float32


def test_a_second_process_is_refused(pipe: JukeboxPipeline, unfinished: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom hf_jukebox.files.atomic import locked\n"
        f"with locked(Path({str(unfinished)!r})):\n    print('locked', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        check_refused(pipe, unfinished, OSError, f"is in use by process {other.pid}")
        other.kill()  # the folder is free as soon as the process is gone, however it went
    assert pipe.resume_run(unfinished, output_type="latent").codes[0].shape == (3, 96)


def test_leftovers_of_a_killed_process_do_no_harm(pipe: JukeboxPipeline, unfinished: Path) -> None:
    (unfinished / "codes" / ".level_1.safetensors.tmp").write_bytes(b"half")
    (unfinished / "level_1").mkdir()
    (unfinished / "level_1" / ".item_0.wav.tmp").write_bytes(b"half")
    pipe.resume_run(unfinished, output_type="latent")
    assert not list(unfinished.rglob("*.tmp"))


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    pipe: JukeboxPipeline, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(unfinished / "codes")

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match=r"level_1\.safetensors cannot be written: No space left"):
            pipe.resume_run(unfinished)
    assert snapshot(unfinished / "codes") == before
    assert pipe.resume_run(unfinished, output_type="latent").codes[0].shape == (3, 96)


# Steps ---------------------------------------------------------------------------------------------------------------


def test_sample_pick_continue_pick_and_upsample(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(output_dir=tmp_path, levels=2, generator=seeded(), artist="night bus", **SHORT)
    first = JukeboxRun.open(tmp_path)
    second_song = first.audio_path(2, 1).read_bytes()
    pick_candidate(tmp_path, 1)
    picked = JukeboxRun.open(tmp_path)
    sketch = picked.codes[2]
    assert torch.equal(sketch, first.codes[2][1:2])
    assert {level: [path.read_bytes() for path in paths] for level, paths in picked.audio_paths().items()} == {
        2: [second_song]
    }
    aside = JukeboxRun.open(tmp_path / "earlier" / "0")  # nothing sampled is lost
    assert torch.equal(aside.codes[2], first.codes[2]) and len(aside.audio_paths()[2]) == 3

    out = pipe.continue_run(
        tmp_path, codes_in_s(10), num_waveforms_per_prompt=2, artist="the lanterns", temperature=1.1
    )
    assert out.codes[2].shape == (2, 10)
    assert torch.equal(out.codes[2][:, :6], sketch.expand(2, -1))
    assert not torch.equal(out.codes[2][0], out.codes[2][1])
    pick_candidate(tmp_path, 0)
    final = pipe.upsample_run(tmp_path, temperature=[0.9, 0.9, 0.9])
    run = JukeboxRun.open(tmp_path)
    assert torch.equal(final.codes[2], out.codes[2][:1]) and final.codes[0].shape == (1, 160)
    assert run.is_finished and set(run.audio_paths()) == {0, 1, 2}
    assert [step.action for step in run.steps] == ["sample", "pick", "continue", "pick", "upsample"]
    assert [step.request.songs[0].artist for step in run.steps[1:3]] == ["night bus", "the lanterns"]
    assert [step.request.settings[2].temperature for step in run.steps[1:]] == [0.99, 1.1, 1.1, 0.9]


def test_continuing_in_a_folder_samples_the_same_as_in_memory(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    first = pipe(output_dir=tmp_path, generator=seeded(), **SHORT)
    longer = pipe.continue_run(tmp_path, codes_in_s(9))
    expected = pipe(codes=first.codes, audio_length_in_s=codes_in_s(9), generator=seeded())
    assert all(torch.equal(a, b) for a, b in zip(longer.codes, expected.codes, strict=True))
    assert len(soundfile.read(tmp_path / "level_0" / "item_2.wav")[0]) == 9 * TOP_HOP


def test_impossible_steps_are_refused(pipe: JukeboxPipeline, tmp_path: Path, unfinished: Path) -> None:
    with pytest.raises(ValueError, match=r"not finished.*hf-jukebox resume"):
        pipe.continue_run(unfinished, 1.0)
    with pytest.raises(ValueError, match=r"not finished.*hf-jukebox resume"):
        pipe.upsample_run(unfinished)
    pipe(output_dir=tmp_path / "run", output_type="latent", audio_length_in_s=codes_in_s(6))
    with pytest.raises(ValueError, match=r"0\.03 s long already; ask for more"):
        pipe.continue_run(tmp_path / "run", codes_in_s(6))
    with pytest.raises(ValueError, match="nothing to upsample"):
        pipe.upsample_run(tmp_path / "run")
    with pytest.raises(ValueError, match="`temperature` must be above 0, at least 1e-30"):
        pipe.continue_run(tmp_path / "run", codes_in_s(9), temperature=0.0)
    with pytest.raises(ValueError, match="nothing to pick"):
        pick_candidate(tmp_path / "run", 0)
    with pytest.raises(ValueError, match="songs 0 to 2"):
        pick_candidate(unfinished, 3)
    assert len(JukeboxRun.open(tmp_path / "run").steps) == 1


def test_an_unfinished_run_resumes_with_the_picked_song(pipe: JukeboxPipeline, unfinished: Path) -> None:
    run = JukeboxRun.open(unfinished)
    before = run.codes
    pick_candidate(unfinished, 2)
    out = pipe.resume_run(unfinished, output_type="latent")
    assert torch.equal(out.codes[2], before[2][2:]) and out.codes[0].shape == (1, 96)
    assert torch.equal(out.codes[1][:, : before[1].shape[1]], before[1][2:])


def test_a_run_that_was_upsampled_is_continued_at_all_its_levels(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(levels=2, audio_length_in_s=codes_in_s(6), output_dir=tmp_path / "run", output_type="latent")
    pipe.upsample_run(tmp_path / "run", output_type="latent")
    before = JukeboxRun.open(tmp_path / "run").codes
    longer = pipe.continue_run(tmp_path / "run", codes_in_s(9), output_type="latent").codes
    assert [codes.shape for codes in longer] == [(1, 144), (1, 36), (1, 9)]
    assert all(torch.equal(b[:, : a.shape[1]], a) for a, b in zip(before, longer, strict=True))


def test_a_step_that_cannot_be_sampled_is_not_recorded(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(audio_length_in_s=codes_in_s(6), output_dir=tmp_path / "run", output_type="latent")
    before = snapshot(tmp_path / "run")
    with pytest.raises(ValueError, match="Level 1 is sampled from the codes of level 2, which are missing"):
        pipe.continue_run(tmp_path / "run", codes_in_s(9), levels=(1, 0))
    assert snapshot(tmp_path / "run") == before
    assert pipe.continue_run(tmp_path / "run", codes_in_s(9), output_type="latent").codes[2].shape == (1, 9)


def test_nothing_is_written_that_could_not_be_read_again(
    pipe: JukeboxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(output_dir=tmp_path / "run", levels=2, **SHORT)
    before = snapshot(tmp_path / "run")
    record = dataclasses.replace(pipe.model_record(), source="x" * 5000)
    monkeypatch.setattr(pipe, "model_record", lambda: record)
    message = r"request\.json could not be read again: .*model\.source: .*at most 4096 characters"
    with pytest.raises(ValueError, match=message):
        pipe(output_dir=tmp_path / "other", **SHORT)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match=message):
        pipe.continue_run(tmp_path / "run", codes_in_s(8))
    assert snapshot(tmp_path / "run") == before


def test_a_piece_longer_than_a_wav_file_is_refused_before_it_is_sampled(
    pipe: JukeboxPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 24 * 3600 * 44100
    with pytest.raises(ValueError, match=r"86400 s of audio are more than a wav file holds.* at most 48695 s"):
        check_wav_length(day, 44100)
    check_wav_length(13 * 3600 * 44100, 44100)
    pipe(output_dir=tmp_path / "run", levels=2, **SHORT)
    monkeypatch.setattr(io, "_MOST_WAV_SAMPLES", 7 * TOP_HOP)
    for sample in (
        lambda: pipe(output_dir=tmp_path / "other", **SHORT | {"audio_length_in_s": codes_in_s(8)}),
        lambda: pipe.sample_songs([SongRequest("a", seconds=codes_in_s(8))], tmp_path / "other"),
        lambda: pipe.continue_run(tmp_path / "run", codes_in_s(8)),
    ):
        with pytest.raises(ValueError, match="more than a wav file holds"):
            sample()
    assert not (tmp_path / "other").exists() and len(JukeboxRun.open(tmp_path / "run").steps) == 1


def test_unknown_overrides_are_refused(pipe: JukeboxPipeline, unfinished: Path) -> None:
    for command in (pipe.upsample_run, lambda run, **options: pipe.continue_run(run, 1.0, **options)):
        with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
            command(unfinished, temprature=3)
