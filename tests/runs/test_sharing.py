"""Files of a run for the Hub name no place of this machine."""

import json
from pathlib import Path

import numpy as np
from helpers.catalogues import top_catalogue
from helpers.tiny import codes_in_s, tiny_pipeline

from hf_jukebox import JukeboxRun, export_run, open_song
from hf_jukebox.runs.sharing import run_files


def test_the_place_of_a_catalogue_is_left_out_of_a_run_that_is_pushed(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    folder = top_catalogue(tmp_path / "private" / "songs", [np.arange(40).astype(np.uint16)], pipe).folder
    pipe(
        audio_length_in_s=codes_in_s(12),
        levels=2,
        avoid=folder,
        longest_in_s=codes_in_s(30),
        output_dir=tmp_path / "run",
        output_type="latent",
    )
    export_run(tmp_path / "run", "wav")
    (tmp_path / "scratch").mkdir()
    files = run_files(JukeboxRun.open(tmp_path / "run"), tmp_path / "scratch")
    contents = {name: each if isinstance(each, bytes) else each.read_bytes() for name, each in files.items()}
    assert not [name for name, content in contents.items() if b"private" in content]
    (step,) = json.loads(contents["request.json"])["steps"]
    assert step["request"]["avoid"]["catalogue"] == "songs"
    (tmp_path / "song.wav").write_bytes(contents["export/run.wav"])
    opened = JukeboxRun.open(open_song(tmp_path / "song.wav", tmp_path / "opened"))
    assert opened.request.avoid is not None and opened.request.avoid.catalogue.strip() == "songs"
