import logging
import unicodedata

import pytest

from hf_jukebox.training.data import ChunkSettings, SongMetadata, audio_data, encode_songs, songs_of_folder


def names(songs):
    return [song.metadata.name for song in songs]


def test_a_folder_without_a_table_is_all_its_audio_files_sorted(write_song):
    folder = write_song("b.wav").parent
    write_song("deep/er/a.flac")
    write_song("Deep/z.ogg")
    write_song(".hidden/a.wav")
    write_song("._b.wav")
    (folder / "notes.txt").write_text("no audio")
    songs = songs_of_folder(folder)
    assert names(songs) == ["Deep/z.ogg", "b.wav", "deep/er/a.flac"]
    assert songs[0].metadata.artist is None


def test_a_table_lists_the_songs_in_its_order(write_song, caplog):
    folder = write_song("b.wav").parent
    write_song("a.wav")
    write_song("unlisted.wav")
    (folder / "metadata.csv").write_text(
        'file_name,artist,genre,bpm\nb.wav,"Sun, Moon",,90\na.wav,Ägir,Jazz,80\n', "utf-8"
    )
    first, second = songs_of_folder(folder)
    assert (first.metadata.name, first.metadata.artist, first.metadata.genre) == ("b.wav", "Sun, Moon", "")
    assert (second.metadata.name, second.metadata.artist, second.metadata.lyrics) == ("a.wav", "Ägir", None)
    assert "Skipping 1 audio files in" in caplog.text


@pytest.mark.parametrize(
    "table",
    [
        "file_name,artist,genre\na.wav,Ella,Jazz\n",
        "file_name;artist;genre\r\na.wav;Ella;Jazz\r\n",
        "file_name\tartist\tgenre\ra.wav\tElla\tJazz\r",
        "sep=;\nfile_name;artist;genre\na.wav;Ella;Jazz\n",
        '"sep=,"\nfile_name,artist,genre\na.wav,Ella,Jazz\n',
        "\ufefffile_name,artist,genre\na.wav,Ella,Jazz",
        "file_name, artist , genre\na.wav, Ella , Jazz\n",
        'file_name,artist,genre\n a.wav , "Ella", "Jazz"\n',
        "\n\nFile_Name,ARTIST,Genre\n,,\na.wav,Ella,Jazz\n\n,,\n",
        "file name,artist,genre,,\na.wav,Ella,Jazz,,,,\n",
        "artist,genre,File-Name\nElla,Jazz,A.WAV\n",
        "file_name,artist,genre\n.\\a.wav,Ella,Jazz\n",
    ],
)
@pytest.mark.parametrize("name", ["metadata.csv", "Metadata.CSV"])
def test_tables_in_the_variants_of_spreadsheets_are_read_alike(write_song, table, name):
    folder = write_song("a.wav").parent
    (folder / name).write_bytes(table.encode())
    (song,) = songs_of_folder(folder)
    assert song.metadata == SongMetadata("a.wav", "Ella", "Jazz")
    assert song.audio.path == folder / "a.wav"


def test_cells_may_hold_separators_quotes_and_line_breaks(write_song):
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_bytes(b'file_name;artist;lyrics\r\na.wav;"Sun; Moon";"one, ""two""\r\nthree"\r\n')
    (song,) = songs_of_folder(folder)
    assert (song.metadata.artist, song.metadata.lyrics) == ("Sun; Moon", 'one, "two"\r\nthree')


@pytest.mark.parametrize(
    ("file", "listed"),
    [
        ("Ägir/bé.wav", unicodedata.normalize("NFD", "Ägir/bé.wav")),
        (unicodedata.normalize("NFD", "Ägir/bé.wav"), "Ägir/bé.wav"),
        ("Album/b.wav", "album\\B.WAV"),
        ("Album/b.wav", "./album//b.wav "),
    ],
)
def test_files_are_found_by_the_names_of_other_systems(write_song, tmp_path, file, listed):
    write_song(file)
    write_song("other.wav")
    (tmp_path / "songs" / "metadata.csv").write_text(f"file_name,artist\n{listed},x\n", "utf-8")
    (song,) = songs_of_folder(tmp_path / "songs")
    assert song.audio.path == tmp_path / "songs" / file and song.metadata.name == file


def test_of_two_files_that_fit_a_name_the_one_of_the_same_case_is_used(write_song):
    folder = write_song("a.wav").parent
    write_song("A.wav")
    write_song("x/c.wav")
    write_song("x/C.wav")
    (folder / "metadata.csv").write_text("file_name\nA.wav\na.wav\nx\\C.wav\nX/c.wav\n")
    songs = songs_of_folder(folder)
    assert names(songs) == [
        "A.wav",
        "a.wav",
        "x/C.wav",
        "X/c.wav",
    ]  # the last one is ambiguous
    assert not songs[3].audio.path.is_file()


def test_misspelled_titles_and_songs_without_a_file_are_logged(write_song, caplog):
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_text("file_name,artits,genre,Genres,bpm\n,x,,,\na.wav,y,,,90\n")
    (song,) = songs_of_folder(folder)
    assert song.metadata == SongMetadata("a.wav", None, "")
    column, nameless = [record.message for record in caplog.records]
    assert column.endswith("ignoring the column artits; if it is meant as artist, rename it.")
    assert nameless == "Skipping 1 songs without a file_name in metadata.csv: line 2."


def test_a_file_that_is_listed_twice_is_one_song(write_song, caplog):
    folder = write_song("a.wav", seed=1).parent
    write_song("b.wav", seed=2)
    (folder / "link.wav").symlink_to("a.wav")
    (folder / "metadata.csv").write_text("file_name,artist\na.wav,x\nb.wav,y\n./a.wav,z\nlink.wav,x\nA.WAV,x\n")
    songs = songs_of_folder(folder)
    assert [(song.metadata.name, song.metadata.artist) for song in songs] == [("a.wav", "x"), ("b.wav", "y")]
    (warning,) = [record.message for record in caplog.records]
    assert warning == "Skipping 3 rows of metadata.csv whose file an earlier row lists."


def test_a_missing_file_is_skipped_and_counted_like_an_unreadable_one(songs, vqvae, tmp_path, caplog):
    (songs / "song_3.wav").unlink()
    (songs / "song_4.wav").write_text("no audio")
    listed = songs_of_folder(songs)
    assert len(listed) == 10
    data = audio_data(listed, ChunkSettings(1024, 4000))
    assert data.summary == "7 songs to train on, 1 for validation, 2 unreadable"
    assert "song_3.wav (There is no file" in caplog.text
    assert set(encode_songs(listed, vqvae, tmp_path / "codes").unreadable) == {"song_3.wav", "song_4.wav"}


def test_json_lines_end_at_line_feeds_alone(write_song):
    folder = write_song("a.wav").parent
    lyrics = "one\u2028two\x85three"
    line = f'{{"File_Name": "a.wav", "artist": 808, "lyrics": "{lyrics}", "tags": ["x"], "genre": null}}'
    (folder / "Metadata.jsonl").write_text(f"\ufeff{line}\r\n \n", "utf-8")
    (song,) = songs_of_folder(folder)
    assert song.metadata == SongMetadata("a.wav", "808", "", lyrics)


def test_linked_folders_are_followed_but_loops_are_not(write_song, tmp_path):
    folder = write_song("own/a.wav").parent.parent
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    write_song("../elsewhere/deep/b.wav")
    (folder / "album").symlink_to(tmp_path / "elsewhere")
    (folder / "Again").symlink_to(folder / "own")  # its songs are already listed under their own name
    (folder / "own" / "up").symlink_to(folder)
    (tmp_path / "elsewhere" / "deep" / "round").symlink_to(tmp_path / "elsewhere")
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    (folder / "self").symlink_to(folder / "self")
    (folder / "linked.wav").symlink_to(folder / "own" / "a.wav")
    assert names(songs_of_folder(folder)) == ["album/deep/b.wav", "linked.wav", "own/a.wav"]


def test_a_jsonl_table_is_read(write_song):
    folder = write_song("a.wav").parent
    (folder / "metadata.jsonl").write_text('{"file_name": "a.wav", "artist": "Ägir", "lyrics": "la\\nla"}\n\n', "utf-8")
    (song,) = songs_of_folder(folder)
    assert song.metadata.artist == "Ägir" and song.metadata.lyrics == "la\nla" and song.metadata.genre is None


def test_timed_lyrics_beside_a_recording_take_precedence(write_song):
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_text("file_name,lyrics\na.wav,plain\n")
    (folder / "a.lrc").write_text("\ufeff[00:01.00]timed", "utf-8")
    (song,) = songs_of_folder(folder)
    assert song.metadata.lyrics == "[00:01.00]timed"


@pytest.mark.parametrize("name", ["é.LRC", unicodedata.normalize("NFD", "é.Lrc"), "é.lrc"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lyrics_of_other_systems_are_found(write_song, name, encoding):
    folder = write_song("é.wav").parent
    (folder / name).write_bytes("[00:01.00]für".encode(encoding))
    (song,) = songs_of_folder(folder)
    assert song.metadata.lyrics == "[00:01.00]für"


def test_lyrics_that_are_not_utf8_are_reported(write_song, caplog):
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
            "file_name,artist\nc.wav,y\nd.wav,z\n",
            "lists 2 files, such as 'c.wav', and none of them exists; correct file_name",
        ),
        ("metadata.csv", "filename,artist\na.wav,x\n", "its columns are: artist, filename; rename filename"),
        ("metadata.csv", "file_name,artist\n", "lists no songs; write one per line"),
        ("metadata.csv", "file_name,Artist,artist\na.wav,x,y\n", "has two columns artist; keep one"),
        (
            "metadata.csv",
            "sep=;\n\nfile_name;artist\n\na.wav;Sun; Moon\n",
            "line 5: more cells .* quote cells with semi",
        ),
        ("metadata.csv", 'file_name,lyrics\na.wav,"one\ntwo"\na.wav,"\\"hi\\", ok"\n', "line 4 .* inside quotes twice"),
        ("metadata.csv", 'file_name,lyrics\na.wav,x\na.wav,"no end\n', "line 3 .* inside quotes twice"),
        ("metadata.csv", "file_name\tartist\na.wav\tElla\n".encode("utf-16"), "not UTF-8 text; save it as UTF-8"),
        ("metadata.csv", "file_name\tartist\na.wav\tElla\n".encode("utf-16-le"), "not UTF-8 text; save it as UTF-8"),
        ("metadata.csv", "name,artist\na.wav,x\n", "needs a column file_name; its columns are: artist, name"),
        ("metadata.csv", "", "needs a column file_name; its columns are: none"),
        ("metadata.csv", "file_name,artist\na.wav,Sun, Moon\n", "line 2: more cells than columns"),
        ("metadata.csv", b"file_name,artist\na.wav,\xff\n", "not UTF-8"),
        ("metadata.jsonl", '{"file_name": "a.wav"}\n["a.wav"]\n', "line 2: expected a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.wav"\n', "line 1: expected a JSON object"),
        ("metadata.jsonl", "[" * 100_000, "line 1: expected a JSON object"),
        ("metadata.jsonl", '{"file_name": "a.wav", "artist": ["x"]}\n', r"line 1: artist must be text, not \['x'\]"),
        ("metadata.jsonl", '{"artist": "x"}\n', "needs a column file_name; its columns are: artist"),
    ],
)
def test_faulty_metadata_is_refused(write_song, table, content, message):
    folder = write_song("a.wav").parent
    (folder / table).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, OSError), match=message):
        songs_of_folder(folder)


def test_folders_without_songs_are_refused(tmp_path, write_song):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        songs_of_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no audio in .*put wav, flac"):
        songs_of_folder(tmp_path)
    folder = write_song("a.wav").parent
    (folder / "metadata.csv").write_text("file_name\na.wav\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.wav"}\n')
    with pytest.raises(ValueError, match="holds both"):
        songs_of_folder(folder)
