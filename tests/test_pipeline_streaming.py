"""Audio that is heard while it is sampled: each level's blocks are, bit for bit, the audio of the finished file."""

import os
import signal
import wave
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import codes_in_s, noise_audio, tiny_pipeline

from hf_jukebox import AudioBlock, JukeboxPipeline, JukeboxRun, SongRequest, modeling_vqvae, pipeline_sampling
from hf_jukebox.audio.io import to_pcm
from hf_jukebox.runs import checkpoint_timer

CODES = 10
MODES = ("ancestral", "primed", "parallel")
Audio = dict[tuple[int, int], np.ndarray]


@pytest.fixture(scope="module")
def pipe() -> Iterator[JukeboxPipeline]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_vqvae, "_BLOCK_IN_S", 0.01)  # blocks as short as their context allows
        yield tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(scope="module")
def wholes(pipe: JukeboxPipeline) -> dict[str, Audio]:
    """Return the audio of each mode from a call that does not stream."""
    return {mode: level_audios(pipe, mode) for mode in MODES}


@pytest.fixture(autouse=True)
def only_codes_and_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the listening page, and fsync, which only matters when the machine itself goes down."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(pipeline_sampling, "update_page", lambda *args: None)


def level_audios(pipe: JukeboxPipeline, mode: str) -> Audio:
    prompt, settings = options(mode)
    levels = pipe(prompt, **settings).level_audios
    return {(level, song): audio for level, songs in enumerate(levels) for song, audio in enumerate(songs)}


def options(mode: str) -> tuple[Any, dict[str, Any]]:
    """Return the prompt and the options of a mode: three songs, two at a time."""
    shared = {"audio_length_in_s": codes_in_s(CODES), "max_batch_size": 2, "generator": 7}
    if mode == "ancestral":
        return None, shared | {"num_waveforms_per_prompt": 3}
    prompts = [noise_audio(codes_in_s(codes), codes) for codes in (2, 5, 3)]
    return prompts, shared | {"upsampling": "parallel" if mode == "parallel" else "sequential"}


def joined(blocks: Iterable[AudioBlock]) -> dict[tuple[int, int], np.ndarray]:
    """Join the blocks of every level and song, which must follow each other without a gap."""
    parts: dict[tuple[int, int], list[np.ndarray]] = {}
    for block in blocks:
        before = parts.setdefault((block.level, block.song), [])
        assert block.samples.dtype == np.float32
        assert block.start == sum(map(len, before)) == round(block.position_in_s * block.sampling_rate)
        before.append(block.samples)
    return {key: np.concatenate(value) for key, value in parts.items()}


def check_equals_files(audio: dict[tuple[int, int], np.ndarray], run_dir: Path) -> None:
    run = JukeboxRun.open(run_dir)
    paths = run.audio_paths()
    assert {(level, song) for level in paths for song in range(len(paths[level]))} == audio.keys() and audio
    for (level, song), samples in audio.items():
        with wave.open(str(paths[level][song])) as file:
            assert file.readframes(file.getnframes()) == to_pcm(samples).tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_the_blocks_of_every_level_and_song_are_the_audio_of_the_files(
    pipe: JukeboxPipeline, mode: str, wholes: dict[str, Audio], tmp_path: Path
) -> None:
    prompt, settings = options(mode)
    blocks = list(pipe.stream(prompt, output_dir=tmp_path / "run", **settings))
    audio = joined(blocks)
    check_equals_files(audio, tmp_path / "run")
    assert audio.keys() == wholes[mode].keys()
    for key, samples in audio.items():
        assert np.array_equal(wholes[mode][key], samples)
    assert [block.level for block in blocks] == sorted((block.level for block in blocks), reverse=True)
    assert sum(block.is_last for block in blocks) == len(audio) < len(blocks)


def test_a_block_is_yielded_while_the_rest_of_its_level_is_being_sampled(pipe: JukeboxPipeline) -> None:
    filled: list[int] = []
    blocks = pipe.stream(
        audio_length_in_s=codes_in_s(72), generator=7, levels=2, callback=lambda now: filled.append(now.filled)
    )
    seen = [((block.start + len(block.samples)) // 128, filled[-1]) for block in blocks]
    context = pipe.vqvae.decoder_context(2)
    assert len(seen) > 2 and seen[0][1] < 64
    for end, codes in seen:
        assert codes <= min(end + context + 8, 72)  # it looks for final audio every 8 codes


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_is_closed_is_continued_with_the_same_bits(
    pipe: JukeboxPipeline, mode: str, wholes: dict[str, Audio], tmp_path: Path
) -> None:
    prompt, settings = options(mode)
    with closing(pipe.stream(prompt, output_dir=tmp_path / "run", **settings)) as stream:
        first = list(islice(stream, 5))
    assert not JukeboxRun.open(tmp_path / "run").is_finished
    rest = list(pipe.stream_run(tmp_path / "run"))
    check_equals_files(joined(rest), tmp_path / "run")
    for block in [*first, *rest]:
        samples = wholes[mode][block.level, block.song]
        assert np.array_equal(block.samples, samples[block.start : block.start + len(block.samples)])


@pytest.mark.parametrize(("mode", "after"), [("primed", 3), ("parallel", 12)])
def test_a_stream_that_is_killed_is_continued_with_the_same_bits(
    pipe: JukeboxPipeline,
    mode: str,
    after: int,
    wholes: dict[str, Audio],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint_timer, "INTERVAL_IN_S", 0.05)
    monkeypatch.setattr(checkpoint_timer, "INTERVAL_PER_WRITE", 0)
    prompt, settings = options(mode)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        torch.set_num_threads(1)  # a forked process has no other threads
        for block in pipe.stream(prompt, output_dir=tmp_path / "run", **settings):
            os.write(
                writing, f"{block.level} {block.song} {block.start} {to_pcm(block.samples).tobytes().hex()}\n".encode()
            )
        os._exit(0)
    os.close(writing)
    with open(reading) as heard:
        for line in islice(heard, after):
            level, song, start, pcm = line.split()
            samples = wholes[mode][int(level), int(song)][int(start) :]
            assert pcm and to_pcm(samples).tobytes().startswith(bytes.fromhex(pcm))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    resumed = joined(pipe.stream_run(tmp_path / "run"))
    assert resumed.keys() == wholes[mode].keys()
    assert all(np.array_equal(samples, wholes[mode][key]) for key, samples in resumed.items())
    check_equals_files(resumed, tmp_path / "run")


Act = Callable[[JukeboxPipeline, Path, Callable[[AudioBlock], object]], object]
STEPS: dict[str, Act] = {
    "resumed": lambda pipe, run, hear: pipe.resume_run(run, on_audio=hear),
    "continued": lambda pipe, run, hear: pipe.continue_run(run, codes_in_s(CODES + 6), on_audio=hear),
    "upsampled": lambda pipe, run, hear: pipe.upsample_run(run, on_audio=hear),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_of_a_run_can_be_heard(pipe: JukeboxPipeline, step: str, tmp_path: Path) -> None:
    prompt, settings = options("parallel")
    levels = (2, 1) if step == "upsampled" else None
    pipe(prompt, output_dir=tmp_path / "run", levels=levels, **settings)
    blocks: list[AudioBlock] = []
    STEPS[step](pipe, tmp_path / "run", blocks.append)
    audio, run = joined(blocks), JukeboxRun.open(tmp_path / "run")
    assert {level for level, _ in audio} == set(run.request.levels)
    if step == "upsampled":
        audio |= {(level, song): read(path) for level in (1, 2) for song, path in enumerate(run.audio_paths()[level])}
    check_equals_files(audio, tmp_path / "run")


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def test_songs_of_a_batch_end_at_their_own_length(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [SongRequest(name=f"song-{codes}", seconds=codes_in_s(codes)) for codes in (5, 9)]
    blocks: list[AudioBlock] = []
    pipe.sample_songs(songs, tmp_path / "batch", on_audio=blocks.append)
    check_equals_files(joined(blocks), tmp_path / "batch")
    assert [len(samples) // 128 for samples in joined(blocks).values()] == [5, 9] * 3


def test_between_two_blocks_the_settings_of_the_caller_hold(pipe: JukeboxPipeline) -> None:
    stream = pipe.stream(audio_length_in_s=codes_in_s(CODES), levels=2)
    next(stream)
    assert torch.is_grad_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        list(stream)
        assert torch.is_autocast_enabled("cpu")


def test_a_wrong_argument_is_refused_when_stream_is_called(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'output_type'"):
        pipe.stream(output_type="pt")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="audio_length_in_s"):
        pipe.stream(audio_length_in_s=-1, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_offloaded_streams_the_same_audio(pipe: JukeboxPipeline) -> None:
    offloaded = JukeboxPipeline(**pipe.components)
    offloaded.set_progress_bar_config(disable=True)
    call: dict[str, Any] = {"audio_length_in_s": codes_in_s(CODES), "generator": 3}
    whole = joined(offloaded.stream(**call))
    offloaded.enable_model_cpu_offload(device="cpu")
    again = joined(offloaded.stream(**call))
    assert all(np.array_equal(again[key], whole[key]) for key in whole)
