"""Data sets of `datasets`: on disk, and streamed in the layout of the Hub."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, IterableDataset

from hf_jukebox.training.data import (
    ChunkSettings,
    DataArguments,
    SongStream,
    audio_data,
    encode_songs,
    open_recordings,
    song_metadata,
    songs_of_folder,
    training_loader,
    validation_loader,
)

SETTINGS = ChunkSettings(4000, 4000, aug_shift=True, seed=5)


@pytest.fixture(autouse=True)
def no_naps(monkeypatch):
    """`datasets` sleeps for 5 s whenever it has come to the end of a shuffled stream."""
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0, raising=False)


@pytest.fixture
def dataset(songs):
    listed = songs_of_folder(songs)
    columns = {
        "audio": [str(song.audio.path) for song in listed],
        "artist": [song.metadata.artist for song in listed],
        "genre": [index % 2 for index in range(len(listed))],
        "year": [1990] * len(listed),
    }
    made = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    return made.cast_column("genre", ClassLabel(names=["Genre 0", "Genre 1"]))


@pytest.fixture
def hub_folder(dataset, tmp_path):
    """Ten songs in five parquet files, with the audio in them."""
    dataset.save_to_disk(tmp_path / "saved")  # stores the audio in the table
    stored = Dataset.load_from_disk(tmp_path / "saved")
    (tmp_path / "hub").mkdir()
    for shard in range(5):
        part = stored.select(range(2 * shard, 2 * shard + 2))
        part.to_parquet(tmp_path / "hub" / f"train-{shard:05d}-of-00005.parquet")
    return tmp_path / "hub"


def test_a_data_set_on_disk_equals_its_folder(dataset, songs, tmp_path):
    dataset.save_to_disk(tmp_path / "saved")
    DatasetDict({"train": dataset, "rest": dataset.select([0])}).save_to_disk(tmp_path / "splits")
    expected = audio_data(songs_of_folder(songs), SETTINGS)
    for folder in ("saved", "splits"):
        found = DataArguments(train_data_dir=str(tmp_path / folder)).open_songs()
        data = audio_data(found, SETTINGS)
        assert data.summary == expected.summary
        assert all(torch.equal(data.train[p]["audio"], expected.train[p]["audio"]) for p in range(0, 40, 7))
        assert song_metadata(found)[4].artist == "Artist 1" and song_metadata(found)[5].genre == "Genre 1"
        assert song_metadata(found)[4].lyrics is None
    with pytest.raises(ValueError, match="no split 'best'; choose one of train, rest"):
        DataArguments(train_data_dir=str(tmp_path / "splits"), dataset_split="best").open_songs()


def test_faulty_data_sets_are_refused(dataset, tmp_path):
    dataset.remove_columns("audio").save_to_disk(tmp_path / "mute")
    with pytest.raises(ValueError, match="has no column audio; its columns are: artist, genre, year"):
        DataArguments(train_data_dir=str(tmp_path / "mute")).open_songs()
    for arguments in (DataArguments(), DataArguments(train_data_dir="a", dataset_name="b")):
        with pytest.raises(ValueError, match="either --train_data_dir FOLDER or --dataset_name NAME"):
            arguments.open_songs()


def test_rows_without_audio_are_counted_as_unreadable(dataset, tmp_path):
    rows = [*(row["audio"] for row in dataset), None, None]
    Dataset.from_dict({"audio": rows}).cast_column("audio", Audio(decode=False)).save_to_disk(tmp_path / "saved")
    found = DataArguments(train_data_dir=str(tmp_path / "saved")).open_songs()
    assert audio_data(found, SETTINGS).summary.startswith("10 songs to train on, 0 for validation, 2 unreadable")
    recordings, unreadable = open_recordings(found, 4000)
    assert len(recordings) == 10
    assert unreadable == {f"{tmp_path / 'saved'}[{number}]": "its row has no audio." for number in (10, 11)}


def test_the_columns_of_a_stream_are_inferred(dataset, caplog):
    contents = [Path(row["audio"]["path"]).read_bytes() for row in dataset]

    def rows():
        yield from ({"audio": {"path": f"{number}.wav", "bytes": each}} for number, each in enumerate(contents))
        yield {"audio": None}

    stream = SongStream.from_dataset(IterableDataset.from_generator(rows), "Made up")
    songs = list(stream)
    assert [song.metadata.name for song in songs] == [*(f"{number}.wav" for number in range(10)), "Made up[10]"]
    data = audio_data(stream, SETTINGS)
    assert len(next(iter(data.train))["audio"]) == 4000
    list(data.validation)
    with pytest.raises(ValueError, match=r"Made up has no column audio; its columns are: sound"):
        SongStream.from_dataset(IterableDataset.from_generator(lambda: iter([{"sound": 1}])), "Made up")


def stream_data(hub_folder, settings=SETTINGS):
    return audio_data(DataArguments(dataset_name=str(hub_folder), streaming=True).open_songs(), settings)


def waves(loader, count):
    return torch.cat([batch["audio"] for batch in islice(loader, count)])


def test_a_stream_resumes_at_a_batch_whatever_the_number_of_workers(hub_folder):
    data = stream_data(hub_folder)
    once = waves(training_loader(data.train, 4), 20)
    assert once.shape == (80, 4000)
    assert torch.equal(
        waves(training_loader(stream_data(hub_folder).train, 4, first_batch=9, num_workers=3), 11), once[36:]
    )
    assert len(once.unique(dim=0)) > 60  # augmented differently in each epoch


def test_an_epoch_of_a_stream_covers_every_song_and_holds_some_out(hub_folder, songs, monkeypatch):
    monkeypatch.setattr("hf_jukebox.training.data.streams._HELD_OUT", 3)
    plain = ChunkSettings(4000, 4000)
    data = stream_data(hub_folder, plain)
    held_out = waves(validation_loader(data.validation, 4), 100)
    everything = audio_data(songs_of_folder(songs), plain)
    chunks = [side[index]["audio"] for side in (everything.train, everything.validation) for index in range(len(side))]
    rows = {tuple(chunk.tolist()) for chunk in chunks}
    epoch = len(chunks) - len(held_out)
    trained = waves(training_loader(data.train, epoch), 1)
    assert {tuple(row.tolist()) for row in trained} | {tuple(row.tolist()) for row in held_out} == rows
    assert len(list(islice(data.train.iter_channels(), 2 * epoch))) == epoch  # what statistics are measured on
    assert len(trained) + len(held_out) == len(rows) and 0 < len(held_out) < len(trained)
    assert (
        song_metadata(DataArguments(dataset_name=str(hub_folder), streaming=True).open_songs())[3].artist == "Artist 0"
    )


def test_processes_read_different_files_of_a_stream(hub_folder):
    stream = SongStream.open(str(hub_folder))
    parts = [[song.audio.content for song in stream.part_of_process(index, 5)] for index in range(5)]
    assert [len(part) for part in parts] == [2] * 5
    assert len({content for part in parts for content in part}) == 10


def test_a_stream_is_encoded_like_its_folder(hub_folder, songs, vqvae, tmp_path):
    streamed = encode_songs(SongStream.open(str(hub_folder)), vqvae, tmp_path / "streamed", songs_per_shard=3)
    listed = encode_songs(songs_of_folder(songs), vqvae, tmp_path / "listed")
    for a, b in zip(streamed.songs, listed.songs, strict=True):
        assert (a.num_samples, a.metadata.artist, a.metadata.genre) == (
            b.num_samples,
            b.metadata.artist,
            b.metadata.genre,
        )
        assert torch.equal(streamed.read(a, 2, 0, 200 // 4), listed.read(b, 2, 0, 200 // 4))


def test_a_stream_without_a_song_long_enough_is_refused(hub_folder):
    train = stream_data(hub_folder, ChunkSettings(40_000, 4000)).train
    with pytest.raises(ValueError, match=r"has no song to train on: .* too short.*use songs of at least 10 s"):
        next(iter(train))


def test_a_downloaded_data_set_equals_its_folder(hub_folder, songs, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = audio_data(DataArguments(dataset_name=str(hub_folder)).open_songs(), SETTINGS)
    expected = audio_data(songs_of_folder(songs), SETTINGS)
    assert all(torch.equal(data.train[p]["audio"], expected.train[p]["audio"]) for p in range(0, 40, 7))
