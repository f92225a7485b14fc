"""Cache of codes: shards, resuming, and refused caches."""

import json
import multiprocessing
import os
import pickle
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hf_jukebox import JukeboxPriorConfig
from hf_jukebox.audio import read_audio
from hf_jukebox.audio.mp3_frames import read_header
from hf_jukebox.training.data import ChunkSettings, CodeCache, code_data, encode_songs, song_metadata, songs_of_folder

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def everything(cache):
    """Read all codes of a cache, by song and level."""
    hops = cache.config.hop_lengths
    return {
        (song.metadata.name, level): cache.read(song, level, 0, song.num_samples // hops[-1] * hops[-1] // hop).tolist()
        for song in cache.songs
        for level, hop in enumerate(hops)
    }


def test_a_cache_holds_every_song_at_every_level(songs, vqvae, tmp_path):
    cache = encode_songs(songs_of_folder(songs), vqvae, tmp_path / "codes", songs_per_shard=4)
    assert sorted(path.name for path in (tmp_path / "codes").iterdir()) == [
        "codes-00000.safetensors",
        "codes-00001.safetensors",
        "codes-00002.safetensors",
        "index.json",
    ]
    assert [song.metadata.name for song in cache.songs] == [f"song_{i}.wav" for i in range(10)]
    assert [song.shard_index for song in cache.songs] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert [song.shard for song in cache.songs] == [0] * 4 + [1] * 4 + [2] * 2
    song = cache.songs[3]
    assert song.num_samples == 10_400 and song.metadata.artist == "Artist 0"
    codes = [cache.read(song, level, 0, 10_400 // hop) for level, hop in enumerate(vqvae.config.hop_lengths)]
    assert [len(level_codes) for level_codes in codes] == [1300, 650, 325] and codes[0].dtype == torch.int64
    assert torch.equal(cache.read(song, 1, 100, 50), codes[1][100:150])
    assert everything(pickle.loads(pickle.dumps(cache))) == everything(cache)


def test_songs_that_cannot_be_read_are_named_and_keep_their_position(songs, vqvae, tmp_path, caplog):
    (songs / "song_2.wav").write_bytes(b"no audio")
    cache = encode_songs(songs_of_folder(songs), vqvae, tmp_path / "codes", songs_per_shard=2)
    assert list(cache.unreadable) == ["song_2.wav"] and "song_2.wav" in caplog.text
    assert [song.position for song in cache.songs] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert [song.metadata.artist for song in cache.songs[:3]] == ["Artist 0", "Artist 1", "Artist 0"]
    assert len(song_metadata(cache)) == 10 and song_metadata(cache)[2].name == "song_2.wav"


def test_an_mp3_without_its_length_in_a_header_is_encoded_to_its_end(write_song, vqvae, tmp_path):
    path = write_song("a.mp3", 6.0, 44100, channels=1)
    content = path.read_bytes()
    path.write_bytes(content[read_header(content[:4]).size :] + b"TAG" + bytes(125))  # without the frame with the tag
    cache = encode_songs(songs_of_folder(path.parent), vqvae, tmp_path / "codes")
    frames = -(-(6 * 44100 + 1105) // 1152) * 1152
    assert [song.num_samples for song in cache.songs] == [round(frames * 4000 / 44100)] and not cache.unreadable
    assert cache.read(cache.songs[0], 2, 700, 50).numel() == 50


def test_file_names_that_are_not_utf_8_are_stored(write_song, vqvae, tmp_path):
    path = write_song("a.wav")
    name = os.fsdecode(b"caf\xe9.wav")
    path.rename(path.with_name(name))
    write_song("b.wav", seed=1)
    cache = encode_songs(songs_of_folder(path.parent), vqvae, tmp_path / "codes")
    assert [song.metadata.name for song in cache.songs] == ["b.wav", name]
    assert everything(CodeCache(tmp_path / "codes")) == everything(cache)
    assert len(read_audio(path.with_name(name), 4000)) == 8000


def test_encoding_again_encodes_missing_shards_only(songs, vqvae, tmp_path, write_song):
    listed, folder = songs_of_folder(songs), tmp_path / "codes"
    whole = everything(encode_songs(listed, vqvae, folder, songs_per_shard=2))
    kept, lost = folder / "codes-00000.safetensors", folder / "codes-00003.safetensors"
    before = kept.stat().st_mtime_ns
    lost.write_bytes(lost.read_bytes()[:100])
    (folder / "index.json").unlink()
    encoded = []
    cache = encode_songs(listed, vqvae, folder, songs_per_shard=2, on_song=encoded.append)
    assert everything(cache) == whole and len(encoded) == 10
    assert kept.stat().st_mtime_ns == before

    write_song("song_10.wav", 2.5, seed=10)
    with open(songs / "metadata.csv", "a") as table:
        table.write("song_10.wav,Artist 1,,\n")
    longer = encode_songs(songs_of_folder(songs), vqvae, folder, songs_per_shard=2)
    assert len(longer.songs) == 11 and kept.stat().st_mtime_ns == before
    assert everything(longer).items() >= whole.items()

    times = {path: path.stat().st_mtime_ns for path in folder.glob("codes-*")}
    table = (songs / "metadata.csv").read_text()
    (songs / "metadata.csv").write_text(table.replace("Artist 2", "Renamed"))
    renamed = encode_songs(songs_of_folder(songs), vqvae, folder, songs_per_shard=2)
    assert renamed.songs[2].metadata.artist == "Renamed"  # labels are read again, but nothing is encoded again
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("codes-*")}


def encode_slowly(songs, vqvae, folder):
    torch.set_num_threads(1)  # a forked process cannot use its parent's threads
    encode = vqvae.encode
    vqvae.encode = lambda *arguments: (time.sleep(0.2), encode(*arguments))[1]
    encode_songs(songs_of_folder(songs), vqvae, folder, songs_per_shard=1)


def test_a_killed_run_resumes_in_two_processes(songs, vqvae, tmp_path):
    expected = everything(encode_songs(songs_of_folder(songs), vqvae, tmp_path / "expected", songs_per_shard=1))
    folder = tmp_path / "codes"
    process = multiprocessing.get_context("fork").Process(target=encode_slowly, args=(songs, vqvae, folder))
    process.start()
    while len(list(folder.glob("codes-*.safetensors"))) < 3:
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("codes-*.safetensors")}
    assert 3 <= len(done) < 10
    with pytest.raises(FileNotFoundError, match=r"no finished codes .*resumes where it stopped"):
        CodeCache(folder)

    vqvae.save_pretrained(tmp_path / "vqvae")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = ["examples/encode_dataset.py", "--songs_per_shard", "1", "--train_data_dir", songs, "--output_dir", folder]
    command = [*launch, *map(str, script), "--vqvae", str(tmp_path / "vqvae")]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("10 songs, 0.01 hours") == 1  # printed by one process
    assert everything(CodeCache(folder)) == expected
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    assert not list(folder.glob(".*"))


def test_bad_input_to_the_script_ends_with_one_line(songs, vqvae, other_vqvae, tmp_path, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["encode_dataset.py", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / "examples" / "encode_dataset.py"), run_name="__main__")
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    vqvae.save_pretrained(tmp_path / "vqvae")
    options = ["--vqvae", tmp_path / "vqvae", "--output_dir", tmp_path / "codes"]
    assert "either --train_data_dir FOLDER or --dataset_name NAME" in run(*options)
    assert run(*options, "--train_data_dir", tmp_path / "vqvae").startswith("encode_dataset.py: There is no audio in")
    encode_songs(songs_of_folder(songs)[:1], other_vqvae, tmp_path / "codes")
    assert "holds codes of another VQ-VAE" in run(*options, "--train_data_dir", songs)


def test_codes_of_another_vqvae_are_refused(songs, vqvae, other_vqvae, tmp_path):
    folder = tmp_path / "codes"
    cache = encode_songs(songs_of_folder(songs)[:2], vqvae, folder)
    cache.check(vqvae)
    message = r"codes holds codes of another VQ-VAE \(fingerprint .*\); use the VQ-VAE that made them"
    with pytest.raises(ValueError, match=message):
        cache.check(other_vqvae)
    with pytest.raises(ValueError, match=message):
        encode_songs(songs_of_folder(songs)[:2], other_vqvae, folder)
    config = JukeboxPriorConfig.from_preset("tiny_prior", sampling_rate=4000)
    settings = ChunkSettings(32, 4000)
    with pytest.raises(ValueError, match="the VQ-VAE needs 32 there"):
        code_data(cache, settings, config)
    with pytest.raises(ValueError, match="aug_blend mixes audio"):
        code_data(cache, ChunkSettings(32, 4000, aug_blend=True), config)


def test_a_faulty_cache_is_refused(songs, vqvae, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no finished codes \(index.json is missing\)"):
        CodeCache(tmp_path)
    cache = encode_songs(songs_of_folder(songs)[:2], vqvae, tmp_path / "codes")
    (tmp_path / "codes" / "codes-00000.safetensors").unlink()
    with pytest.raises(OSError, match=r"codes-00000.safetensors is missing or damaged; delete it"):
        CodeCache(cache.folder).read(cache.songs[0], 0, 0, 1)
    index = tmp_path / "codes" / "index.json"
    for content in ("{", "[]", "{}", json.dumps(json.loads(index.read_text()) | {"format": 99})):
        index.write_text(content)
        with pytest.raises(ValueError, match="not an index of codes that this version wrote"):
            CodeCache(cache.folder)


def test_songs_that_cannot_be_encoded_are_an_error(songs, vqvae, tmp_path):
    for path in songs.glob("*.wav"):
        path.write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"None of the 10 songs can be encoded; the first, song_0.wav"):
        encode_songs(songs_of_folder(songs), vqvae, tmp_path / "codes")
