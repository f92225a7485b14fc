"""Validation is a mean over the held-out examples, however they are divided into batches and over processes."""

import io
import json
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from helpers.forked import Forked
from helpers.ports import free_port
from helpers.tiny_training import loop_arguments, tiny_vqvae, vqvae_trainer

RATE = 22050


def validate(folder: Path, batch_size: int, held_out: int, **options: int) -> float:
    arguments = loop_arguments(folder, train_batch_size=batch_size, **options)
    return vqvae_trainer(arguments, held_out=held_out).validate()["loss"]


def run_on_two(folder: Path, program: str | Path, *words: object) -> None:
    """Run a program on two processes, and fail if they have not ended after two minutes."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "ACCELERATE_USE_CPU": "true"}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    with (folder / "log.txt").open("w") as log:
        started = [
            Forked(
                program,
                *words,
                stdout=log.fileno(),
                stderr=log.fileno(),
                environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(2)
        ]
        end = time.monotonic() + 120
        while any(each.poll() is None for each in started) and time.monotonic() < end:
            time.sleep(0.1)
        for each in started:
            each.kill()
    assert [each.wait() for each in started] == [0, 0], (folder / "log.txt").read_text("utf-8")


def logged_loss(folder: Path) -> float:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [entry["validation/loss"] for entry in entries if "validation/loss" in entry][-1]


@pytest.mark.parametrize("held_out", [1, 7])
def test_the_loss_depends_neither_on_the_batch_size_nor_on_the_number_of_processes(
    tmp_path: Path, held_out: int
) -> None:
    each = validate(tmp_path / "one", 1, held_out)
    for size in (4, 80):
        assert validate(tmp_path / f"by {size}", size, held_out) == pytest.approx(each, rel=1e-6)
    run_on_two(tmp_path, Path(__file__).with_name("validate_on_two.py"), tmp_path / "two", 2, held_out)
    assert logged_loss(tmp_path / "two") == pytest.approx(each, rel=1e-6)


def test_a_part_of_the_held_out_examples_is_evenly_spaced(tmp_path: Path) -> None:
    alone = [validate(tmp_path, 1, held_out, max_validation_examples=1) for held_out in (1, 2)]
    assert alone[0] == alone[1]
    losses = [number * validate(tmp_path, 4, number) for number in range(1, 8)]  # of the first 1, 2, ... 7
    chosen = [losses[0], losses[2] - losses[1], losses[5] - losses[4]]  # examples 0, 2 and 5 of 8
    for size in (1, 2, 80):
        found = validate(tmp_path, size, 8, max_validation_examples=3)
        assert found == pytest.approx(sum(chosen) / 3, rel=1e-5)


def song(number: int) -> bytes:
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, RATE)
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format="wav")
    return file.getvalue()


def test_processes_validate_together_on_a_stream_that_holds_out_a_song_of_one_of_them(tmp_path: Path) -> None:
    contents = list(map(song, range(40)))
    held_out = next(content for content in contents if zlib.crc32(content) % 10 == 0)
    trained = [content for content in contents if zlib.crc32(content) % 10]
    (tmp_path / "songs").mkdir()
    for shard, part in enumerate([[held_out, *trained[:4]], trained[4:8]]):
        rows = [{"bytes": content, "path": f"{shard}-{number}.wav"} for number, content in enumerate(part)]
        table = Dataset.from_dict({"audio": rows}).cast_column("audio", Audio(decode=False))
        table.to_parquet(tmp_path / "songs" / f"train-{shard:05d}-of-00002.parquet")
    tiny_vqvae().save_pretrained(tmp_path / "start")
    options = {
        "vqvae": tmp_path / "start",
        "dataset_name": tmp_path / "songs",
        "output_dir": tmp_path / "run",
        "chunk_length": 4096,
        "max_train_steps": 2,
        "train_batch_size": 1,
        "validation_steps": 1,
        "sample_steps": 1,
        "report_to": "none",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run_on_two(tmp_path, "hf_jukebox.train_vqvae", *words, "--streaming")
    assert (tmp_path / "run" / "samples" / "step-2" / "0-original.wav").is_file()
    assert logged_loss(tmp_path / "run") > 0
