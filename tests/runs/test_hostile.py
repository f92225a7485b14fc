"""Untrusted run folders are refused in one sentence, and nothing outside them is touched."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import codes_in_s, tiny_pipeline
from safetensors.torch import load_file, save_file

from hf_jukebox import JukeboxPipeline, JukeboxRun, SongRequest, pick_candidate
from hf_jukebox.files.tensors import read_tensors, write_tensors
from hf_jukebox.runs.record import SongFolder

pytestmark = pytest.mark.usefixtures("no_fsync")

Hostile = Callable[[Path, Path], None]  # changes a run's folder; the other one lies outside of it


@pytest.fixture(scope="module")
def pipe() -> JukeboxPipeline:
    return tiny_pipeline("tiny_labelled_prior")


@pytest.fixture(scope="module")
def batch(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a batch of two songs that was stopped in the middle of level 1."""
    folder = tmp_path_factory.mktemp("batch") / "run"
    songs = [SongRequest(name, "night bus", lyrics="la", seed=1, seconds=codes_in_s(6)) for name in ("a", "b")]
    pipe.sample_songs(songs, folder, output_type="latent", callback=lambda at: at.level == 2 or at.filled < 9)
    return folder


@pytest.fixture(scope="module")
def single(pipe: JukeboxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same as a run of two candidates."""
    folder = tmp_path_factory.mktemp("single") / "run"
    options: dict[str, Any] = {"artist": "night bus", "lyrics": "la", "num_waveforms_per_prompt": 2}
    stop = lambda at: at.level == 2 or at.filled < 9  # noqa: E731
    length = codes_in_s(6)
    pipe(audio_length_in_s=length, output_dir=folder, output_type="latent", callback=stop, **options)
    return folder


# Ways to make a folder hostile ---------------------------------------------------------------------------------------


def request(change: Callable[[dict[str, Any]], object]) -> Hostile:
    """Change the step of request.json."""

    def hostile(run: Path, outside: Path) -> None:
        path = run / "request.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content["steps"][0])
        path.write_text(json.dumps(content), encoding="utf-8")

    return hostile


def value(place: str, new: Any) -> Hostile:
    """Change a value of the step, such as request.top_codes."""

    def change(step: dict[str, Any]) -> None:
        *parents, name = [int(part) if part.isdecimal() else part for part in place.split(".")]
        inner: Any = step
        for parent in parents:
            inner = inner[parent]
        inner[name] = new

    return request(change)


def text(content: str | bytes) -> Hostile:
    """Replace request.json."""
    data = content.encode() if isinstance(content, str) else content
    return lambda run, outside: (run / "request.json").write_bytes(data) and None


def codes(metadata: dict[str, object] | None = None, **overrides: Callable[[torch.Tensor], torch.Tensor]) -> Hostile:
    """Change the tensors of the codes of level 1."""

    def hostile(run: Path, outside: Path) -> None:
        path = run / "codes" / "level_1.safetensors"
        tensors, old = read_tensors(path)
        for name, change in overrides.items():
            tensors[name] = change(tensors.get(name, torch.zeros(0)))
        write_tensors(path, tensors, old if metadata is None else metadata)

    return hostile


def state(rows: str | None = None, **overrides: Callable[[torch.Tensor], torch.Tensor]) -> Hostile:
    """Change the window in progress."""

    def hostile(run: Path, outside: Path) -> None:
        (path,) = (run / "state").glob("*.safetensors")
        tensors, metadata = read_tensors(path)
        for name, change in overrides.items():
            tensors[name] = change(tensors[name])
        write_tensors(path, tensors, metadata if rows is None else metadata | {"rows": rows})

    return hostile


def link(name: str, target: str | None = None) -> Hostile:
    """Put a link in the place of a folder of the run; it leads outside unless a target is given."""

    def hostile(run: Path, outside: Path) -> None:
        if (run / name).is_dir() and target is None:
            shutil.copytree(run / name, outside, dirs_exist_ok=True)
        if (run / name).is_dir():
            shutil.rmtree(run / name)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).symlink_to(outside if target is None else target, target_is_directory=True)

    return hostile


def sparse(name: str) -> Hostile:
    def hostile(run: Path, outside: Path) -> None:
        os.truncate(run / name if "*" not in name else next(run.glob(name)), 2**43)

    return hostile


def pipe_file(name: str) -> Hostile:
    def hostile(run: Path, outside: Path) -> None:
        path = next(run.glob(name))
        path.unlink()
        os.mkfifo(path)

    return hostile


def beyond(row: torch.Tensor) -> torch.Tensor:
    return torch.full_like(row, 64)


SEAMS = {"seams": lambda _: torch.tensor([[0, 8, 2]]), "warm_ups": lambda _: torch.zeros(2, dtype=torch.int32)}
NAMES = ["../../evil", "/tmp/evil", "C:\\evil", "..\\evil", "", ".", "..", "a/b", "a\0b", "codes", "STATE", "con", ".x"]
FOLDERS: dict[str, Hostile] = {f"name-{name!r}": value("folders.0.name", name) for name in [*NAMES, "x" * 300, "b", 7]}
FOLDERS |= {
    "folders-overlap": value("folders.1.first", 0),
    "folders-lack-a-song": request(lambda step: step["folders"].pop()),
    "folder-of-many-songs": value("folders.1.last", 2**60),
    "longer-than-the-piece": value("folders.0.top_codes", 7),
    "song-is-a-link": link("a"),
    "level-of-a-song-is-a-link": link("a/level_1"),
    "song-is-the-run": link("a", "."),
}
RUNS: dict[str, Hostile] = {
    "negative-length": value("request.top_codes", -6),
    "astronomic-length": value("request.top_codes", 10**30),
    "more-than-memory": value("request.top_codes", 2**39),
    "nan": value("request.settings.1.temperature", float("nan")),
    "infinite": value("request.settings.1.temperature", float("inf")),
    "text-for-a-number": value("request.settings.1.temperature", "hot"),
    "number-as-text": value("request.top_codes", "6"),
    "true-for-a-number": value("request.top_codes", True),
    "negative-top-k": value("request.settings.1.top_k", -1),
    "songs-as-object": value("request.songs", {}),
    "no-songs": value("request.songs", []),
    "a-million-songs": request(lambda step: step["request"].update(songs=[{}] * 1_000_000)),
    "many-songs": request(lambda step: step["request"].update(songs=step["request"]["songs"] * 40_000)),
    "songs-without-codes": request(lambda step: step["request"].update(songs=step["request"]["songs"] * 2)),
    "unknown-key": value("request.songs.0.exec", "rm"),
    "label-is-a-list": value("request.songs.0.artist", ["x"]),
    "negative-key": value("request.songs.0.key", [-1, 0]),
    "huge-key": value("request.songs.0.key", [10**100, 0]),
    "key-of-three": value("request.songs.0.key", [0, 0, 0]),
    "negative-offset": value("request.songs.0.offset", -1),
    "offset-beyond-the-song": value("request.songs.0.offset", 2**47),
    "song-of-no-length": value("request.songs.0.total_length", 0),
    "no-levels": value("request.levels", []),
    "missing-level": value("request.levels", [9]),
    "negative-level": value("request.levels", [-1]),
    "level-twice": value("request.levels", [2, 2, 1]),
    "no-hop": value("request.hops.1", 0),
    "windows-with-gaps": value("request.hops.1", 2**30),
    "hops-of-two-levels": request(lambda step: step["request"]["hops"].pop()),
    "unknown-upsampling": value("request.upsampling", "os.system"),
    "no-batch": value("request.max_batch_size", 0),
    "more-known-than-there-is": value("known.1.0", 10**9),
    "negative-known": value("known.1.0", -1),
    "known-of-one-level": request(lambda step: step.update(known=step["known"][:1])),
    "row-of-a-missing-song": value("rows.0", 2),
    "negative-row": value("rows.0", -1),
    "unknown-action": value("action", "exec"),
    "hop-lengths-that-do-not-divide": value("model.hop_lengths", [8, 12, 128]),
    "no-hop-length": value("model.hop_lengths.0", 0),
    "levels-of-another-model": value("model.hop_lengths.0", 4),
    "no-sampling-rate": value("model.sampling_rate", 0),
    "dtype-that-is-a-path": value("model.dtype", "torch/../x"),
    "long-source": value("model.source", "x" * 5000),
    "parts-as-list": value("model.parts", []),
    "steps-are-none": text('{"format_version": 2, "steps": []}'),
    "no-object": text("[]"),
    "a-number": text("3"),
    "version-is-text": text('{"format_version": "2", "steps": []}'),
    "version-of-many-digits": text('{"format_version": ' + "9" * 4000 + ', "steps": []}'),
    "deep": text('{"format_version": 2, "steps": ' + "[" * 200_000),
    "deep-and-closed": text('{"format_version": 2, "steps": ' + "[" * 50_000 + "]" * 50_000 + "}"),
    "not-utf8": text(b'{"format_version": 2, "steps": ["\xff"]}'),
    "lone-surrogate": text('{"format_version": 2, "steps": ["\\udcff"]}'),
    "sparse-request": sparse("request.json"),
    "request-is-a-pipe": pipe_file("request.json"),
    "sparse-codes": sparse("codes/level_1.safetensors"),
    "codes-of-floats": codes(codes=torch.Tensor.float),
    "codes-in-one-dimension": codes(codes=torch.Tensor.flatten),
    "codes-beyond-the-codebook": codes(codes=beyond),
    "negative-codes": codes(codes=torch.Tensor.neg),
    "codes-too-long": codes(codes=lambda old: torch.zeros(2, 4000, dtype=torch.int32)),
    "filled-beyond-the-codes": codes(filled=lambda old: old + 100),
    "negative-filled": codes(filled=lambda old: -old - 1),
    "codes-of-no-step": codes(metadata={}),
    "codes-of-a-later-step": codes(metadata={"step": 99}),
    "codes-of-a-step-in-words": codes(metadata={"step": "one"}),
    "codes-of-three-songs": codes(codes=lambda old: old[[0, 1, 1]], filled=lambda old: old[[0, 1, 1]]),
    "codes-and-more": codes(extra=lambda _: torch.zeros(1)),
    "seam-of-no-song": codes(**SEAMS | {"seams": lambda _: torch.tensor([[5, 8, 2]])}),
    "seam-beyond-the-codes": codes(**SEAMS | {"seams": lambda _: torch.tensor([[0, 2**40, 2]])}),
    "seam-longer-than-its-codes": codes(**SEAMS | {"seams": lambda _: torch.tensor([[0, 8, 2**62]])}),
    "seam-before-the-start": codes(**SEAMS | {"seams": lambda _: torch.tensor([[0, 1, 2]])}),
    "seam-beyond-the-codebook": codes(**SEAMS | {"warm_ups": lambda _: torch.full((2,), 64, dtype=torch.int32)}),
    "state-of-no-rows": state(rows="[]"),
    "state-of-words": state(rows='["a"]'),
    "state-of-deep-rows": state(rows="[" * 100_000),
    "state-of-negative-rows": state(rows="[[-1, 0, 24, 0, false], [1, 0, 24, 0, false]]"),
    "state-of-floats": state(rows="[[0.5, 0, 24, 0, false], [1, 0, 24, 0, false]]"),
    "state-of-other-codes": state(codes=beyond),
    "state-of-many-codes": state(codes=lambda old: old.repeat(1, 10)),
    "state-of-another-shape": state(cache_0=lambda old: old[..., :1].contiguous()),
    "state-of-whole-numbers": state(cache_0=torch.Tensor.long),
    "sparse-state": sparse("state/*.safetensors"),
    "state-is-a-pipe": pipe_file("state/*.safetensors"),
    "codes-are-a-link": link("codes"),
    "state-is-a-link": link("state"),
    "audio-is-a-link": link("level_2"),
    "audio-to-come-is-a-link": link("level_1"),
    "audio-is-the-run": link("level_1", "."),
    "link-to-itself": link("level_1", "level_1"),
    "alignment-is-a-link": link("alignment"),
    "surprise-is-a-link": link("surprise"),
    "earlier-is-a-link": link("earlier"),
    "lock-is-a-link": link(".lock", "../outside/file"),
}


def contents(folder: Path) -> dict[str, str]:
    """Return everything in a folder, without following links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name in (".lock", "index.html") and not path.is_symlink() and "outside" not in path.parts:
            continue  # locked, and regenerated from the rest
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file() and path.stat().st_size < 2**40:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path)] = str(path.stat().st_mode)
    return found


def check_refused(pipe: JukeboxPipeline, base: Path, tmp_path: Path, hostile: Hostile) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(base, run)
    (run / ".lock").unlink(missing_ok=True)
    outside.mkdir()
    (outside / "file").write_text("mine")
    hostile(run, outside)
    before = contents(tmp_path)

    def check_nothing_is_touched(*, inside: bool) -> None:
        kept = [where for where in before if inside or not where.startswith(str(run))]
        after = [where for where in contents(tmp_path) if inside or not where.startswith(str(run))]
        assert after == kept and all(contents(tmp_path)[where] == before[where] for where in kept)

    with pytest.raises((ValueError, OSError)) as error:
        pipe.resume_run(run, output_type="latent")
    message = str(error.value)
    assert "\n" not in message and len(message) < 600 and message.endswith("."), message
    check_nothing_is_touched(inside=True)
    others: list[Callable[[], object]] = [
        lambda: JukeboxRun.open(run).codes,
        lambda: JukeboxRun.open(run).audio_paths(),
        lambda: pipe(levels=2, audio_length_in_s=codes_in_s(2), output_dir=run, output_type="latent"),
        lambda: pipe.continue_run(run, codes_in_s(9), output_type="latent"),
        lambda: pipe.upsample_run(run, output_type="latent"),
        lambda: pick_candidate(run, 0),
    ]
    for other in others:  # some of them do not read the damaged part
        assert "\n" not in (message := message_of(other)) and len(message) < 600, message
        check_nothing_is_touched(inside=False)


def message_of(action: Callable[[], object]) -> str:
    """Return the message of an action's error; empty without an error."""
    try:
        action()
    except (ValueError, OSError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("hostile", RUNS.values(), ids=RUNS.keys())
def test_a_hostile_run_is_refused(pipe: JukeboxPipeline, single: Path, tmp_path: Path, hostile: Hostile) -> None:
    check_refused(pipe, single, tmp_path, hostile)


@pytest.mark.parametrize("hostile", FOLDERS.values(), ids=FOLDERS.keys())
def test_a_hostile_batch_is_refused(pipe: JukeboxPipeline, batch: Path, tmp_path: Path, hostile: Hostile) -> None:
    check_refused(pipe, batch, tmp_path, hostile)


def test_the_unchanged_runs_are_accepted(pipe: JukeboxPipeline, batch: Path, single: Path, tmp_path: Path) -> None:
    for base in (batch, single):
        run = shutil.copytree(base, tmp_path / base.parent.name)
        pipe.resume_run(run, output_type="latent")
        assert JukeboxRun.open(run).is_finished


def test_a_new_run_is_not_written_through_links(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for name in ("codes", "level_2"):
        run = tmp_path / f"run-{name}"
        run.mkdir()
        (run / name).symlink_to(tmp_path / "outside")
        with pytest.raises(OSError, match=f"{name} is a link"):
            pipe(levels=2, audio_length_in_s=codes_in_s(2), output_dir=run, output_type="latent")
    assert list((tmp_path / "outside").iterdir()) == []


def test_links_in_the_place_of_files_are_replaced(pipe: JukeboxPipeline, single: Path, tmp_path: Path) -> None:
    run, outside = shutil.copytree(single, tmp_path / "run"), tmp_path / "outside"
    outside.write_text("mine")
    (run / "level_1").mkdir()
    names = ["codes/level_0.safetensors", "level_1/item_0.wav", "level_1/.item_1.wav.tmp", ".lock.pid", "audio.json"]
    for name in [*names, ".index.html.tmp", ".audio.json.tmp"]:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside)
    (run / "codes" / "level_0.safetensors").unlink()
    pipe.resume_run(run, output_type="latent")
    assert outside.read_text() == "mine" and JukeboxRun.open(run).is_finished


def test_a_batch_within_a_batch_is_not_followed(pipe: JukeboxPipeline, batch: Path, tmp_path: Path) -> None:
    run, outside = shutil.copytree(batch, tmp_path / "run"), tmp_path / "outside"
    inner = run / "a"
    shutil.copy(run / "request.json", inner)
    shutil.copytree(run / "b", outside)
    (outside / "index.html").unlink(missing_ok=True)
    before = contents(outside)
    (inner / "b").symlink_to(outside)
    pipe.resume_run(run, output_type="latent")
    assert contents(outside) == before


@pytest.mark.parametrize("name", ["codes", "level_1", "../x", "a/b", "con"])
def test_songs_with_such_names_are_refused_before_sampling(pipe: JukeboxPipeline, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a song's folder"):
        SongFolder(name, 0, 0, 1)
    with pytest.raises(ValueError, match="cannot name a song's folder"):
        pipe.sample_songs([SongRequest(name, seconds=codes_in_s(2))], tmp_path / "out", levels=2)
    assert not (tmp_path / "out").exists()


def test_damaged_timing_files_are_refused(pipe: JukeboxPipeline, tmp_path: Path) -> None:
    from hf_jukebox.report import LyricTiming

    good = LyricTiming("la", torch.tensor([0, 1, -1], dtype=torch.int32), 10.0, torch.zeros(2, 3, dtype=torch.uint8))
    good.save(tmp_path / "good.safetensors")
    assert LyricTiming.load(tmp_path / "good.safetensors").text == "la"
    tensors = load_file(tmp_path / "good.safetensors")
    texts = {"text": "la", "codes_per_second": "10"}
    hostile: list[tuple[dict[str, torch.Tensor], dict[str, str]]] = [
        ({}, texts),
        (tensors, {}),
        (tensors, texts | {"codes_per_second": "nan"}),
        (tensors, texts | {"codes_per_second": "-1"}),
        (tensors, texts | {"codes_per_second": "ten"}),
        (tensors | {"characters": torch.tensor([2], dtype=torch.int32)}, texts),
        (tensors | {"characters": torch.tensor([[0]], dtype=torch.int32)}, texts),
        (tensors | {"characters": torch.tensor([0.0])}, texts),
        (tensors | {"overview": torch.zeros(3)}, texts),
    ]
    for number, (content, metadata) in enumerate(hostile):
        save_file(content, tmp_path / f"{number}.safetensors", metadata)
        with pytest.raises(ValueError, match="holds no timing of lyrics"):
            LyricTiming.load(tmp_path / f"{number}.safetensors")
