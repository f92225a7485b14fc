"""Arguments of a call are checked before the model is used: lengths, numbers, labels, seeds and codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.tiny import RATE, TOP_HOP, codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import JukeboxPipeline, JukeboxRun, SongRequest, pick_candidate

SHORT: dict[str, Any] = {"audio_length_in_s": codes_in_s(4), "levels": 2}


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def labelled() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.wav" for name in ("drums", "bass", "voice")]
    for seed, path in enumerate(paths):
        soundfile.write(path, noise_audio(codes_in_s(3), seed).numpy(), RATE, subtype="FLOAT")
    return paths


def refuse(pipe: JukeboxPipeline, message: str, **arguments: Any) -> None:
    """Check that a call is refused in one sentence before anything is sampled or encoded."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("encode", "decode"):
            patch.setattr(pipe.vqvae, name, lambda *args, **kwargs: pytest.fail("the model was run"))
        with pytest.raises(ValueError, match=message) as error:
            pipe(**arguments)
    assert "\n" not in str(error.value)


# Lengths -------------------------------------------------------------------------------------------------------------


def test_a_piece_lies_within_its_song(labelled: JukeboxPipeline, pipe: JukeboxPipeline) -> None:
    for each in (labelled, pipe):
        refuse(each, "`total_length_in_s` is 2.00", audio_length_in_s=3, total_length_in_s=2)
        refuse(each, "ends after the song", audio_length_in_s=3, offset_in_s=3, total_length_in_s=4)
        refuse(each, "ends after the song", audio_length_in_s=3, offset_in_s=[0, 1.5], total_length_in_s=4)
    out = labelled(audio_length_in_s=1, offset_in_s=2, total_length_in_s=3, levels=2)
    assert out.codes[2].shape[1] == RATE // TOP_HOP


def test_a_batch_of_songs_is_checked_song_by_song(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    """Check that only the kept part of a song must lie within it, though all are sampled to the longest length."""
    short = SongRequest("short", seconds=codes_in_s(10), total_seconds=1.0, seed=1)
    long = SongRequest("long", seconds=codes_in_s(400), seed=2)
    labelled.sample_songs([short, long], tmp_path / "run", levels=2, hop_fraction=1.0)
    assert JukeboxRun.open(tmp_path / "run" / "short").request.songs[0].total_length == RATE
    with pytest.raises(ValueError, match="ends after the song"):
        labelled.sample_songs([SongRequest("short", seconds=1.2, total_seconds=1.0), long], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_continuation_lies_within_its_song(labelled: JukeboxPipeline, tmp_path: Path) -> None:
    labelled(**SHORT, output_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="ends after the song"):
        labelled.continue_run(tmp_path / "run", 2.0, total_length_in_s=1.5)
    assert len(JukeboxRun.open(tmp_path / "run").steps) == 1


@pytest.mark.parametrize("seconds", [1e9, 1e300, 10**400])
def test_huge_lengths_are_refused(pipe: JukeboxPipeline, labelled: JukeboxPipeline, seconds: float) -> None:
    for each in (pipe, labelled):
        refuse(each, "longest song|one run can hold|number of seconds", audio_length_in_s=seconds)
        refuse(each, "longest song|after the song|number of seconds", offset_in_s=seconds, total_length_in_s=5)
    refuse(pipe, "10000000000 x 0 s of music are more than", **SHORT, num_waveforms_per_prompt=10**10)


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "3", [], object(), True])
@pytest.mark.parametrize(
    "name",
    [
        *("audio_length_in_s", "prompt_length_in_s", "total_length_in_s", "offset_in_s"),
        *("temperature", "top_k", "top_p", "hop_fraction", "num_waveforms_per_prompt", "max_batch_size", "levels"),
    ],
)
def test_unusable_numbers_are_refused(labelled: JukeboxPipeline, name: str, value: Any) -> None:
    audio = {"audio": (noise_audio(1.0), RATE)} if name == "prompt_length_in_s" else {}
    refuse(labelled, f"{name}|total_length|no prior|empty list", **audio, **{name: value})


def test_none_for_a_level_is_the_default_hop(pipe: JukeboxPipeline) -> None:
    defaults = pipe(**SHORT, hop_fraction=None, generator=torch.Generator().manual_seed(3))
    named = pipe(**SHORT, hop_fraction=[0.5, 0.5, None], generator=torch.Generator().manual_seed(3))
    assert torch.equal(defaults.codes[2], named.codes[2])


def test_numbers_of_numpy_are_numbers_and_are_kept_as_such(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "audio_length_in_s": np.float32(codes_in_s(4.5)),
        "levels": np.int64(2),
        "temperature": np.float32(1),
        "top_k": np.array([1, 1, 1])[0],
        "num_waveforms_per_prompt": np.int32(2),
        "max_batch_size": np.uint8(1),
    }
    out = pipe(**arguments, output_dir=tmp_path / "run")
    assert out.codes[2].shape == (2, 4)
    assert JukeboxRun.open(tmp_path / "run").is_finished


@pytest.mark.parametrize("seconds", [0, 1e-6, codes_in_s(0.9)])
def test_a_prompt_length_of_less_than_a_code_is_refused_by_its_name(pipe: JukeboxPipeline, seconds: float) -> None:
    refuse(pipe, "prompt_length_in_s", audio=(noise_audio(1.0), RATE), prompt_length_in_s=seconds)


# Seeds ---------------------------------------------------------------------------------------------------------------


def test_a_number_as_generator_is_a_seed(pipe: JukeboxPipeline) -> None:
    options = SHORT | {"num_waveforms_per_prompt": 2}

    def codes(generator: Any) -> list[list[int]]:
        return pipe(**options, generator=generator).codes[2].tolist()

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert codes(0) == codes(seeded(0)) == codes(np.int64(0)) != codes(1)
    assert codes([1, 2]) == codes([seeded(1), seeded(2)]) == codes((1, seeded(2)))
    for wrong in (1.5, "0", -1, 2**64, True, [0, None, 1], [1.5, 2]):
        refuse(pipe, "generator", **options, generator=wrong)


# Labels --------------------------------------------------------------------------------------------------------------


def warnings_of(pipe: JukeboxPipeline, **arguments: Any) -> list[str]:
    with pytest.warns(UserWarning) as record:  # noqa: PT030
        pipe(**{"audio_length_in_s": codes_in_s(4)} | arguments)
    return [str(each.message) for each in record]


def test_labels_that_a_model_cannot_use_give_one_warning(pipe: JukeboxPipeline, labelled: JukeboxPipeline) -> None:
    (every,) = warnings_of(pipe, artist="night bus", genre="rock", lyrics="la")
    assert every == "artist, genre, lyrics are ignored: no prior that is sampled from has labels."
    (some,) = warnings_of(labelled, artist=["night bus", None])
    assert some == "artist cannot be used at levels 1, 0 (no labels there)."
    (lyrics,) = warnings_of(labelled, lyrics="la", levels=2)
    assert lyrics == "This model does not use lyrics; ignoring the lyrics given."


def test_labels_that_are_used_give_no_warning(labelled: JukeboxPipeline, recwarn: pytest.WarningsRecorder) -> None:
    labelled(**SHORT, artist="night bus", genre="")
    labelled(**SHORT, artist=None, lyrics="")
    assert not recwarn.list


@pytest.mark.parametrize("name", ["artist", "genre", "lyrics"])
def test_labels_must_be_text(labelled: JukeboxPipeline, name: str) -> None:
    for wrong in (5, b"night bus", ["night bus", 5]):
        refuse(labelled, f"`{name}` must be text or None", **{name: wrong})


# Prompts and their names ---------------------------------------------------------------------------------------------


def test_every_prompt_is_named_in_the_record_and_on_the_page(
    pipe: JukeboxPipeline, songs: list[Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    pipe(songs[:2], **SHORT, num_waveforms_per_prompt=2, output_dir=run)
    names = [song["prompt"] for song in json.loads((run / "request.json").read_text())["steps"][-1]["request"]["songs"]]
    assert names == ["drums.wav", "drums.wav", "bass.wav", "bass.wav"]
    page = (run / "index.html").read_text()
    assert page.count("drums.wav") == page.count("bass.wav") == 2
    pick_candidate(run, 2)
    pipe.continue_run(run, codes_in_s(6))
    assert [song.prompt for song in JukeboxRun.open(run).request.songs] == ["bass.wav"]
    page = (run / "index.html").read_text()
    assert "bass.wav" in page and "drums.wav" not in page


def test_prompts_of_a_batch_of_songs_are_named_in_their_folders(
    pipe: JukeboxPipeline, songs: list[Path], tmp_path: Path
) -> None:
    requests = [SongRequest("a", prompt=str(songs[1]), seconds=codes_in_s(4)), SongRequest("b", seconds=codes_in_s(4))]
    pipe.sample_songs(requests, tmp_path / "run", levels=2)
    assert JukeboxRun.open(tmp_path / "run" / "a").request.songs[0].prompt == "bass.wav"
    assert JukeboxRun.open(tmp_path / "run" / "b").request.songs[0].prompt is None
    assert "bass.wav" in (tmp_path / "run" / "a" / "index.html").read_text()


def test_a_record_without_names_of_prompts_still_opens(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(**SHORT, output_dir=tmp_path)
    record = json.loads((tmp_path / "request.json").read_text())
    del record["steps"][0]["request"]["songs"][0]["prompt"]
    (tmp_path / "request.json").write_text(json.dumps(record))
    assert JukeboxRun.open(tmp_path).request.songs[0].prompt is None
    pipe.continue_run(tmp_path, codes_in_s(6))


def test_more_prompts_than_other_values_are_refused_and_none_is_dropped(
    labelled: JukeboxPipeline, songs: list[Path]
) -> None:
    refuse(labelled, "3 songs of the batch", audio=songs, artist=["night bus", "the lanterns"])
    refuse(labelled, "3 songs of the batch", audio=songs[:2], artist=["night bus"] * 3)
    assert labelled(songs, **SHORT).codes[2].shape[0] == 3


def test_stereo_samples_are_not_taken_for_two_songs(pipe: JukeboxPipeline) -> None:
    left = noise_audio(codes_in_s(3))
    stereo = torch.stack([left, 0.8 * left])
    refuse(pipe, "alike", audio=stereo, sampling_rate=RATE)
    assert pipe(stereo[None], sampling_rate=RATE, **SHORT).codes[2].shape[0] == 1
    assert pipe((stereo, RATE), **SHORT).codes[2].shape[0] == 1


# Codes and outputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 4).long(), "a list with one tensor or None per level"),
        ("codes.pt", "a list with one tensor or None per level"),
        ([None, None, [1, 2, 3]], "integers"),
        ([None, None, torch.zeros(1, 4)], "integers"),
        ([None, None, torch.zeros(1, 4).bool()], "integers"),
        ([], "3 levels"),
    ],
)
def test_malformed_codes_are_refused(pipe: JukeboxPipeline, codes: Any, message: str) -> None:
    refuse(pipe, message, codes=codes)


def test_codes_may_be_numpy_arrays(pipe: JukeboxPipeline) -> None:
    top = np.array([[1, 2, 3]])
    out = pipe(codes=[None, None, top], levels=(2,), audio_length_in_s=codes_in_s(4))
    assert out.codes[2][:, :3].tolist() == top.tolist()


def test_latents_as_a_tuple_are_the_codes(pipe: JukeboxPipeline) -> None:
    whole = pipe(**SHORT, generator=0)
    (codes,) = pipe(**SHORT, generator=0, output_type="latent", return_dict=False)
    assert isinstance(codes, list)
    assert all(torch.equal(a, b) for a, b in zip(codes, whole.codes, strict=True))


# Folders -------------------------------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder_everywhere(
    pipe: JukeboxPipeline, songs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    (home / "drums.wav").write_bytes(songs[0].read_bytes())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    out = pipe("~/drums.wav", **SHORT, output_dir="~/run")
    pipe.continue_run("~/run", codes_in_s(6))
    pipe.resume_run("~/run")
    pipe.sample_songs([SongRequest("a", prompt="~/drums.wav", seconds=codes_in_s(4))], "~/songs", levels=2)
    assert [path.is_relative_to(home) for path in out.save("~/saved")] == [True]
    pipe.save_pretrained("~/model")
    assert JukeboxPipeline.from_pretrained("~/model").prior_2 is not None
    assert {path.name for path in home.iterdir()} == {"drums.wav", "run", "songs", "saved", "model"}
    assert not list(here.iterdir())
    with pytest.raises(FileExistsError, match="holds"):
        pipe(**SHORT, output_dir="~/run")
