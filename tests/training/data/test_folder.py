import logging

import pytest

from hf_jukebox.training.data import songs_of_folder


def names(songs):
    return [song.metadata.name for song in songs]


def test_a_bare_folder_is_all_its_audio_sorted(write_song):
    folder = write_song("b.wav").parent
    write_song("deep/er/a.flac")
    write_song("Deep/z.ogg")
    write_song(".hidden/a.wav")
    write_song("._b.wav")
    (folder / "notes.txt").write_text("no audio")
    songs = songs_of_folder(folder)
    assert names(songs) == ["Deep/z.ogg", "b.wav", "deep/er/a.flac"]
    assert songs[0].metadata.artist is None


def test_metadata_is_a_list_of_songs_in_its_order(write_song, caplog):
    folder = write_song("b.wav").parent
    write_song("a.wav")
    write_song("unlisted.wav")
    (folder / "metadata.csv").write_text(
        'file_name,artist,genre,bpm\nb.wav,"Sun, Moon",,90\na.wav,Ägir,Jazz,80\n', "utf-8"
    )
    first, second = songs_of_folder(folder)
    assert (first.metadata.name, first.metadata.artist, first.metadata.genre) == ("b.wav", "Sun, Moon", "")
    assert (second.metadata.name, second.metadata.artist, second.metadata.lyrics) == ("a.wav", "Ägir", None)
    assert "1 audio files" in caplog.text and "left out" in caplog.text


def test_jsonl_says_the_same(write_song):
    folder = write_song("a.wav").parent
    (folder / "metadata.jsonl").write_text('{"file_name": "a.wav", "artist": "Ägir", "lyrics": "la\\nla"}\n\n', "utf-8")
    (song,) = songs_of_folder(folder)
    assert song.metadata.artist == "Ägir" and song.metadata.lyrics == "la\nla" and song.metadata.genre is None


def test_timed_lyrics_beside_a_recording_come_first(write_song):
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_text("file_name,lyrics\na.wav,plain\n")
    (folder / "a.lrc").write_text("\ufeff[00:01.00]timed", "utf-8")
    (song,) = songs_of_folder(folder)
    assert song.metadata.lyrics == "[00:01.00]timed"


def test_lyrics_that_are_no_utf8_are_reported(write_song, caplog):
    folder = write_song("a.wav").parent
    (folder / "a.lrc").write_bytes("[00:01.00]für".encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        songs_of_folder(folder)
    assert "a.lrc is not UTF-8" in caplog.text


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        (
            "metadata.csv",
            "file_name,artist\na.wav,x\nc.wav,y\nd.wav,z\n",
            "names 2 files that are not there, such as 'c.wav'",
        ),
        ("metadata.csv", "name,artist\na.wav,x\n", "needs a column file_name; its columns are: artist, name"),
        ("metadata.csv", "", "needs a column file_name; its columns are: none"),
        ("metadata.csv", "file_name,artist\na.wav,Sun, Moon\n", "line 2: more cells than columns"),
        ("metadata.csv", b"file_name,artist\na.wav,\xff\n", "not UTF-8"),
        ("metadata.jsonl", '{"file_name": "a.wav"}\n["a.wav"]\n', "line 2: expected a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.wav"\n', "line 1: expected a JSON object"),
        ("metadata.jsonl", '{"artist": "x"}\n', "needs a column file_name; its columns are: artist"),
    ],
)
def test_faulty_metadata_is_one_sentence(write_song, table, content, message):
    folder = write_song("a.wav").parent
    (folder / table).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, OSError), match=message):
        songs_of_folder(folder)


def test_folders_without_songs_are_one_sentence(tmp_path, write_song):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        songs_of_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no audio in .*put wav, flac"):
        songs_of_folder(tmp_path)
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_text("file_name\na.wav\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.wav"}\n')
    with pytest.raises(ValueError, match="holds both"):
        songs_of_folder(folder)
