"""Training overfits eight songs, and learns to use artists and lyrics."""

from pathlib import Path

import pytest
import torch
from helpers.tiny_training import loop_arguments, tiny_prior, tiny_vqvae
from torch.utils.data import Dataset

from hf_jukebox import JukeboxPrior
from hf_jukebox.layers.conditioning import LabelColumns
from hf_jukebox.training.accelerator import make_accelerator
from hf_jukebox.training.data import TrainingData
from hf_jukebox.training.loop import Trainer
from hf_jukebox.training.train_prior import PriorTask, drop_labels

SONGS = 8


def songs(prior: JukeboxPrior) -> dict[str, torch.Tensor]:
    """Random codes, an artist for each song, random lyrics."""
    config, generator = prior.config, torch.Generator().manual_seed(0)
    batch = {"codes": torch.randint(config.codebook_size, (SONGS, config.n_ctx), generator=generator)}
    if config.has_labels:
        timing = torch.tensor([20 * config.sampling_rate, 0, config.window_length]).expand(SONGS, 3)
        names = torch.stack([torch.arange(1, SONGS + 1), torch.ones(SONGS, dtype=torch.long)], dim=1)
        lyrics = torch.randint(config.lyrics_vocab_size, (SONGS, config.n_lyrics), generator=generator)
        batch["labels"] = torch.cat([timing, names, lyrics], dim=1)
    return batch


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Dataset that repeats the rows of a batch."""

    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return SONGS

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return {name: each[position % SONGS] for name, each in self.batch.items()}


def learn(prior: JukeboxPrior, batch: dict[str, torch.Tensor], folder: Path, steps: int = 300) -> JukeboxPrior:
    """Train a prior on this batch alone."""
    arguments = loop_arguments(
        folder,
        max_train_steps=steps,
        train_batch_size=SONGS,
        learning_rate=1e-2,
        lr_anneal_start=steps // 2,
        adam_weight_decay=0.0,
    )
    accelerator = make_accelerator(arguments)
    task = PriorTask(prior.config, tiny_vqvae().eval())
    data = TrainingData(Rows(batch), Rows(batch), "8 songs")
    Trainer(prior, task, data, arguments, accelerator).train()
    return JukeboxPrior.from_pretrained(folder).eval()


@torch.no_grad()
def bits(prior: JukeboxPrior, codes: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Return the bits per code of every song, `[B]`."""
    rows = [
        prior(codes=codes[i : i + 1], labels=None if labels is None else labels[i : i + 1]).code_loss
        for i in range(len(codes))
    ]
    return torch.stack(rows)


def test_eight_songs_are_overfitted(tmp_path):
    batch = songs(tiny_prior())
    prior = learn(tiny_prior(), batch, tmp_path)
    assert bits(prior, batch["codes"]).mean() < 0.1


def test_the_right_artist_is_the_most_likely(tmp_path):
    prior = tiny_prior("tiny_labelled_prior")
    batch = songs(prior)
    prior = learn(prior, batch, tmp_path)
    right = bits(prior, **batch)
    assert right.mean() < 0.1
    for shift in range(1, SONGS):
        labels = batch["labels"].clone()
        labels[:, LabelColumns.artist] = labels[:, LabelColumns.artist].roll(shift)
        assert (bits(prior, batch["codes"], labels) > right).all()


def test_the_right_words_are_more_likely_than_shuffled_ones(tmp_path):
    prior = tiny_prior("tiny_lyrics_prior", num_hidden_layers=10, lyrics_loss_fraction=0.1)
    batch = songs(prior)
    batch["labels"][:, 3] = 1  # the same artist for all songs, which differ by their lyrics alone
    prior = learn(prior, batch, tmp_path)
    right = bits(prior, **batch)
    labels = batch["labels"].clone()
    order = torch.randperm(prior.config.n_lyrics, generator=torch.Generator().manual_seed(1))
    labels[:, prior.config.label_columns.lyrics] = labels[:, prior.config.label_columns.lyrics][:, order]
    assert (bits(prior, batch["codes"], labels) > right).all()


@pytest.mark.parametrize("genre_words", [1, 5])
def test_dropped_labels_become_those_of_an_unknown_song(genre_words):
    row = [1000, 0, 100, 7, *range(1, genre_words + 1), 5, 6]
    labels = torch.tensor([row] * 2000)
    torch.manual_seed(0)
    dropped = drop_labels(labels, 0.3, LabelColumns(genre_words, n_lyrics=2))
    artist_gone, genre_gone = dropped[:, 3] == 0, dropped[:, 4] == 0
    for gone in (artist_gone, genre_gone):
        assert 0.25 < gone.float().mean() < 0.35
    assert 0.05 < (artist_gone & genre_gone).float().mean() < 0.13
    assert (dropped[genre_gone, 5 : 4 + genre_words] == -1).all()
    kept = torch.ones(labels.shape[1], dtype=torch.bool)
    kept[3 : 4 + genre_words] = False
    assert torch.equal(dropped[:, kept], labels[:, kept])
    assert torch.equal(labels, torch.tensor([row] * 2000))
