"""Files of codes: seams and prices that lie beyond them, which early versions wrote, and files of several processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.catalogues import catalogue_of, top_catalogue
from helpers.forked import run_on
from helpers.tiny import TOP_HOP, codes_in_s, tiny_pipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hf_jukebox import JukeboxPipeline, JukeboxRun, SamplingProgress, SongRequest, export_run, open_song, pick_candidate
from hf_jukebox.runs.storage import SnapshotStore
from hf_jukebox.sampling.batch import Snapshot
from hf_jukebox.sampling.scheduler import Rows
from hf_jukebox.sampling.windows import Span, Window

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline()


def stop_after(codes: int, level: int) -> Any:
    """Return a callback that stops after this many codes of a level."""
    sampled = [0]

    def go_on(progress: SamplingProgress) -> bool:
        sampled[0] += progress.level == level
        return sampled[0] < codes

    return go_on


def edit(path: Path, **tensors: torch.Tensor) -> None:
    """Replace tensors of a file of codes."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path) | tensors, path, metadata)


@pytest.fixture(scope="module")
def parallel(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return options of a piece in parallel upsampling that avoids the codes it would have freely."""
    options: dict[str, Any] = {"levels": (2, 1), "upsampling": "parallel", "generator": 1, "output_type": "latent"}
    options["audio_length_in_s"] = codes_in_s(48)
    free = pipe(**options)
    catalogue = catalogue_of(
        tmp_path_factory.mktemp("catalogue") / "c", [[level[0].numpy() for level in free.codes]], pipe, levels=(1,)
    )
    return options | {"avoid": catalogue.folder, "longest_in_s": 52 * 32 / 22050}


@pytest.mark.parametrize("codes", [30, 60, 150])
def test_prices_of_segments_in_progress_are_kept(
    pipe: JukeboxPipeline, parallel: dict[str, Any], codes: int, tmp_path: Path
) -> None:
    whole = pipe(**parallel)
    pipe(**parallel, output_dir=tmp_path / "run", callback=stop_after(codes, level=1))
    out = pipe.resume_run(tmp_path / "run", output_type="latent")
    assert torch.equal(out.codes[1], whole.codes[1])
    assert out.avoided[1] == whole.avoided[1] != [{}]


def test_prices_beyond_the_codes_are_left_out(pipe: JukeboxPipeline, parallel: dict[str, Any], tmp_path: Path) -> None:
    pipe(**parallel, output_dir=tmp_path / "run", callback=stop_after(10, level=1))
    path = tmp_path / "run" / "codes" / "level_1.safetensors"
    width = JukeboxRun.open(tmp_path / "run").read_level(1).codes.shape[1]
    edit(path, avoided=torch.tensor([[0, 3], [0, width]]), prices=torch.tensor([1.5, 2.5]))
    assert JukeboxRun.open(tmp_path / "run").avoided(1) == [{3: 1.5}]
    out = pipe.resume_run(tmp_path / "run", output_type="latent")
    assert torch.equal(out.codes[1], pipe(**parallel).codes[1])


def test_a_short_song_that_avoids_a_catalogue_is_exported_and_opened(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [SongRequest("a", seconds=codes_in_s(100), seed=1), SongRequest("b", seconds=codes_in_s(40), seed=2)]
    options: dict[str, Any] = {"levels": (2,), "output_type": "latent"}
    free = pipe.sample_songs(songs, tmp_path / "free", **options).codes[2]
    recited = top_catalogue(tmp_path / "catalogue", [row[45:].numpy().astype(np.uint16) for row in free], pipe).folder
    pipe.sample_songs(songs, tmp_path / "run", avoid=recited, longest_in_s=codes_in_s(25), **options)
    assert max(JukeboxRun.open(tmp_path / "run").avoided(2)[1]) >= 40
    _, short = export_run(tmp_path / "run", "wav", tmp_path / "exported")
    again = JukeboxRun.open(open_song(short, tmp_path / "again"))
    assert torch.equal(again.codes[2], JukeboxRun.open(tmp_path / "run" / "b").codes[2])


def test_songs_of_different_lengths_are_upsampled_in_parallel(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    songs = [SongRequest("a", seconds=codes_in_s(96), seed=1), SongRequest("b", seconds=codes_in_s(20), seed=2)]
    pipe.sample_songs(songs, tmp_path / "run", upsampling="parallel", output_type="latent")
    batch, short = JukeboxRun.open(tmp_path / "run"), JukeboxRun.open(tmp_path / "run" / "b")
    assert short.is_finished
    for level, codes in enumerate(short.codes):
        length = 20 * TOP_HOP // (8, 32, 128)[level]
        assert torch.equal(codes[0], batch.codes[level][1, :length])
    pipe.continue_run(tmp_path / "run" / "b", codes_in_s(30), output_type="latent")


def test_seams_beyond_the_codes_are_left_out(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    pipe(audio_length_in_s=codes_in_s(48), levels=(2, 1), upsampling="parallel", output_dir=tmp_path, generator=1)
    path = tmp_path / "codes" / "level_1.safetensors"
    known = JukeboxRun.open(tmp_path).read_level(1)
    tensors, width = load_file(path), known.codes.shape[1]
    seams = torch.cat([tensors["seams"], torch.tensor([[0, width, 2]])])
    edit(path, seams=seams, warm_ups=torch.cat([tensors["warm_ups"], torch.ones(2, dtype=torch.int32)]))
    read = JukeboxRun.open(tmp_path).read_level(1)
    assert [seam.position for seam in read.seams[0]] == [seam.position for seam in known.seams[0]]


# Several processes ---------------------------------------------------------------------------------------------------


def rows_of(song: int) -> Rows:
    return (Span(song, Window(0, 8, 0)),)


def test_a_process_removes_only_windows_that_it_samples(tmp_path: Path) -> None:
    def snapshot(filled: int) -> Snapshot:
        return Snapshot(torch.zeros(1, filled, dtype=torch.long))

    for song in range(3):
        SnapshotStore(tmp_path, 0).write(1, {rows_of(song): snapshot(2)})
    first, second = SnapshotStore(tmp_path, 0), SnapshotStore(tmp_path, 0)
    assert first.read(1).keys() == second.read(1).keys() == {rows_of(0), rows_of(1), rows_of(2)}
    both = rows_of(0) + rows_of(1)
    first.write(1, {both: Snapshot(torch.zeros(2, 4, dtype=torch.long))})
    left = SnapshotStore(tmp_path, 0).read(1)
    assert {rows: len(each.codes[0]) for rows, each in left.items()} == {both: 4, rows_of(2): 2}
    second.write(1, {rows_of(2): snapshot(5)})
    first.write(1, {})
    left = SnapshotStore(tmp_path, 0).read(1)
    assert {rows: len(each.codes[0]) for rows, each in left.items()} == {rows_of(2): 5}


def test_a_resumed_process_keeps_the_windows_of_the_other(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    for done in run_on(2, Path(__file__).with_name("two_processes_resume.py"), tmp_path / "run"):
        assert done.returncode == 0, done.stderr
    before = (tmp_path / "run" / "before").read_text().split()
    assert len(before) == 2 and set(before) <= set((tmp_path / "run" / "found").read_text().split())
    alone = pipe(
        audio_length_in_s=codes_in_s(24), levels=2, num_waveforms_per_prompt=4, generator=1, output_type="latent"
    )
    assert torch.equal(JukeboxRun.open(tmp_path / "run").codes[2], alone.codes[2])


def test_a_pick_removes_the_windows_of_the_step_before(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    options: dict[str, Any] = {"levels": (2,), "num_waveforms_per_prompt": 2, "output_type": "latent"}
    pipe(audio_length_in_s=codes_in_s(24), output_dir=tmp_path, callback=stop_after(5, level=2), **options)
    assert list((tmp_path / "state").iterdir())
    pick_candidate(tmp_path, 1)
    assert not list((tmp_path / "state").iterdir())
