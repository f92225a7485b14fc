"""Checkpoints and code caches of earlier versions can be used for training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_jukebox.training.arguments import LoopArguments
from hf_jukebox.training.data import CodeCache, DataArguments
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_prior import train_prior
from hf_jukebox.training.train_vqvae import VQVAEArguments, train_vqvae

EARLIER = Path(__file__).parents[1] / "fixtures" / "earlier"
LOSSES = json.loads((EARLIER / "losses.json").read_text("utf-8"))
RATE = 4000
VQVAE = {
    "sampling_rate": RATE, "downs_t": [3, 1], "strides_t": [2, 2], "width": 4, "depth": 1, "multipliers": [1, 1],
    "codebook_dim": 8, "codebook_size": 16,
}  # fmt: skip
PRIOR = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_time_bins": 4, "attention_blocks": 4, "n_ctx": 64, "num_artists": 4,
    "num_genres": 3, "min_duration": 1.0,
}  # fmt: skip


@pytest.fixture
def songs(tmp_path: Path) -> DataArguments:
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(4):
        time = np.arange(RATE * (2 + number % 3)) / RATE
        beat = np.sin(2 * np.pi * (100 + 20 * number) * time) * np.exp(-8 * (time % 0.5))
        soundfile.write(folder / f"{number}.wav", 0.5 * beat, RATE)
    return DataArguments(train_data_dir=str(folder))


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Losses of all later steps, by step."""
    noted: dict[str, float] = {}
    train_step = Trainer.train_step

    def noting(trainer: Trainer, batches: Any) -> Any:
        figures = train_step(trainer, batches)
        noted[str(trainer.step)] = figures["loss"].item()
        return figures

    monkeypatch.setattr(Trainer, "train_step", noting)
    return noted


def settings(tmp_path: Path, **values: Any) -> str:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(values))
    return str(path)


def loop(output_dir: Path, **options: Any) -> LoopArguments:
    usual: dict[str, Any] = {
        "train_batch_size": 2,
        "sample_steps": 0,
        "report_to": "none",
        "max_train_steps": 4,
        "lr_warmup_steps": 0,
        "resume_from_checkpoint": "latest",
    }
    return LoopArguments(output_dir=str(output_dir), **usual | options)


def test_training_of_a_vqvae_is_resumed(tmp_path: Path, songs: DataArguments, losses: dict[str, float]) -> None:
    shutil.copytree(EARLIER / "vqvae", tmp_path / "run")
    model = VQVAEArguments("tiny_vqvae", settings(tmp_path, **VQVAE), chunk_length=2048)
    train_vqvae(model, songs, loop(tmp_path / "run"))
    assert losses == pytest.approx({step: LOSSES["JukeboxVQVAE"][step] for step in "34"}, rel=1e-4)


def test_training_of_a_prior_is_resumed_with_its_codes(tmp_path: Path, losses: dict[str, float]) -> None:
    shutil.copytree(EARLIER / "prior", tmp_path / "run")
    codes = str(EARLIER / "codes")
    assert [song.metadata.artist for song in CodeCache(codes).songs] == ["Artist 0", "Artist 1"] * 2
    model = PriorArguments(
        vqvae=str(EARLIER / "vqvae" / "checkpoint-2"),
        preset="tiny_labelled_prior",
        model_config=settings(tmp_path, **PRIOR),
        codes_dir=codes,
    )
    train_prior(model, DataArguments(), loop(tmp_path / "run"))
    assert losses == pytest.approx({step: LOSSES["JukeboxPrior"][step] for step in "34"}, rel=1e-4)


def test_a_prior_is_fine_tuned(tmp_path: Path, losses: dict[str, float]) -> None:
    model = PriorArguments(
        vqvae=str(EARLIER / "vqvae" / "checkpoint-2"),
        prior=str(EARLIER / "prior" / "checkpoint-2"),
        codes_dir=str(EARLIER / "codes"),
        lora_rank=2,
    )
    train_prior(model, DataArguments(), loop(tmp_path / "run", max_train_steps=1))
    assert losses["1"] == pytest.approx(LOSSES["JukeboxPrior"]["2"], rel=1e-2)
