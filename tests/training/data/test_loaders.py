import logging
from itertools import islice

import pytest
import torch

from hf_jukebox.training.data import (
    ChunkSettings,
    audio_data,
    measure_statistics,
    songs_of_folder,
    training_loader,
    validation_loader,
)

SETTINGS = ChunkSettings(4000, 4000, aug_shift=True, aug_blend=True, seed=5)


def batches(loader, count):
    return [batch["audio"] for batch in islice(loader, count)]


def test_a_restart_continues_with_the_next_batch(songs):
    train = audio_data(songs_of_folder(songs), SETTINGS).train
    once = batches(training_loader(train, 4), 20)  # over several epochs
    assert once[0].shape == (4, 4000) and once[0].dtype == torch.float32
    assert 2 * len(train) < 20 * 4
    later = batches(training_loader(train, 4, first_batch=13), 7)
    assert all(torch.equal(a, b) for a, b in zip(once[13:], later, strict=True))
    assert not torch.equal(once[0], once[1])


def test_processes_and_workers_split_the_same_examples(songs):
    train = audio_data(songs_of_folder(songs), SETTINGS).train
    together = torch.cat(batches(training_loader(train, 4), 6))
    halves = [
        batches(training_loader(train, 2, process_index=index, num_processes=2, num_workers=index), 6)
        for index in (0, 1)
    ]
    assert torch.equal(torch.cat([half for pair in zip(*halves, strict=True) for half in pair]), together)


def test_every_song_is_either_for_training_or_held_out(songs):
    data = audio_data(songs_of_folder(songs), SETTINGS)
    sides = [{recording.song.metadata.name for recording in side.recordings} for side in (data.train, data.validation)]
    assert sides[1] == {"song_9.wav"} and sides[0] == {f"song_{number}.wav" for number in range(9)}
    assert data.summary == "9 songs to train on, 1 for validation"


def test_validation_covers_the_held_out_songs_without_augmentation(songs):
    validation = audio_data(songs_of_folder(songs), SETTINGS).validation
    whole = torch.cat(batches(validation_loader(validation, 3), 100))
    song = validation.recordings[0]
    assert len(whole) == 4  # 3.8 s in chunks of 1 s, the last one moved back
    assert torch.equal(whole[-1], torch.from_numpy(song.read_mono(song.num_samples - 4000, 4000)))
    shares = [batches(validation_loader(validation, 2, process_index=i, num_processes=3), 100) for i in range(3)]
    assert [sum(map(len, share)) for share in shares] == [2, 1, 1]
    assert torch.equal(torch.cat([share[0][:1] for share in shares]), whole[:3]) and torch.equal(
        shares[0][0][1], whole[3]
    )
    (part,) = batches(validation_loader(validation, 3, most=2), 100)
    assert torch.equal(part, whole[[0, 2]])


def test_a_recording_damaged_during_training_is_logged_and_skipped(songs, caplog):
    train = audio_data(songs_of_folder(songs), SETTINGS).train
    (songs / "song_3.wav").write_bytes(b"no audio any more")
    with caplog.at_level(logging.WARNING):
        examples = [train[position] for position in range(2 * len(train))]
    assert caplog.text.count("Skipping a part of song_3.wav") == 1
    assert all(example["audio"].shape == (4000,) for example in examples)
    assert torch.equal(train[0]["audio"], examples[0]["audio"])
    for path in songs.glob("*.wav"):
        path.unlink()
    with pytest.raises(ValueError, match="None of the songs can be read any more"):
        train[0]


def test_statistics_are_measured_on_the_samples(songs):
    train = audio_data(songs_of_folder(songs), SETTINGS).train
    chunks = list(train.iter_channels())
    measured = measure_statistics(chunks, 4000)
    samples = torch.cat([torch.from_numpy(chunk.copy()) for chunk in chunks], dim=1)  # [2, T]
    assert measured.seconds == pytest.approx(2 * len(chunks))
    assert measured.l1 == pytest.approx(samples.abs().mean().item(), rel=1e-5)
    assert measured.l2 == pytest.approx(samples.var().item(), rel=1e-4)
    window = torch.hann_window(1536)
    norms = [
        torch.stft(torch.from_numpy(chunk.mean(0)), 2048, 256, 1536, window, return_complex=True).abs().norm()
        for chunk in chunks
    ]
    assert measured.spectral == pytest.approx(torch.stack(norms).mean().item(), rel=1e-5)
    assert measure_statistics(train.iter_channels(), 4000, max_seconds=5).seconds == 6  # 2 channels of 1 s at a time
    with pytest.raises(ValueError, match="recordings are silent"):
        measure_statistics([chunks[0] * 0], 4000)
