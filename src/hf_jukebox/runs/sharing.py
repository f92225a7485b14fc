"""Runs on the Hub: the folder with its listening page, as a data set or a static Space that plays."""

from __future__ import annotations

import hashlib
import html
import json
import os
import tempfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from ..files.text import read_json_object, shell_command, user_path
from ..sharing.cards import Card, audio_player, repositories, table
from ..sharing.quoting import as_argument, as_code, as_python, as_words
from ..sharing.upload import iter_files, upload_folder
from .contents import RunReader
from .model_source import model_name
from .names import REQUEST

RunRepoType = Literal["dataset", "space"]


def push_run(
    run_dir: str | os.PathLike[str],
    repo_id: str,
    *,
    repo_type: RunRepoType = "dataset",
    license: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Upload a run with its listening page, and return the address of the commit or pull request.

    The run can be downloaded and continued. Paths of this machine are left out of it: of a model, an adapter or a
    catalogue in a folder only the folder's name remains.

    Args:
        run_dir: Folder of the run.
        repo_type: `"dataset"`, whose card plays the audio, or `"space"`, which shows the listening page.
        license: Licence of the audio, such as `"cc-by-4.0"`.
        private, revision, create_pr, token, commit_message: See [`~sharing.upload.upload_folder`].

    Raises:
        OSError, ValueError: there is no run or no audio yet, it is damaged, or the Hub rejects the upload.
    """
    run = RunReader.open(user_path(run_dir))
    if not run.audio_paths():
        resume = shell_command("hf-jukebox", "resume", run.folder)
        raise ValueError(f"{run.folder} has no audio to listen to yet; resume it first: {resume}")
    with tempfile.TemporaryDirectory() as scratch:
        return upload_folder(
            run.folder,
            repo_id,
            lambda name: run_card(run, name, repo_type, license),
            repo_type=repo_type,
            private=private,
            revision=revision,
            create_pr=create_pr,
            token=token,
            commit_message=commit_message,
            files=run_files(run, Path(scratch)),
            space_sdk="static",
        )


def run_files(run: RunReader, scratch: Path) -> dict[str, Path | bytes]:
    """Return the files of a run to upload: path in the repository to path or content.

    Args:
        scratch: Empty folder for copies without the paths of this machine, which audio files and the page name too.
    """
    files: dict[str, Path | bytes] = {}
    places = _folders_named(run)
    digests: set[str] = set()
    for name, path in iter_files(run.folder):
        if name.startswith("state/") and run.is_finished:
            continue
        files[name] = path
        if PurePosixPath(name).name == REQUEST:
            files[name] = _without_paths(path)
        elif path.suffix in (".wav", ".flac", ".html") and any(
            place in (content := path.read_bytes()) for place in places
        ):
            for place in places:  # audio keeps its length, which its header states
                content = content.replace(place, b"" if path.suffix == ".html" else b" " * len(place))
            copy = scratch / str(len(files))
            copy.write_bytes(content)
            files[name] = copy
            digests.add(hashlib.sha256(content).hexdigest()[:32])
    for name in [name for name in files if PurePosixPath(name).name == "audio.json"] if digests else []:
        written = read_json_object(run.folder / name)
        files[name] = json.dumps({"written": sorted({*written.get("written", []), *digests})}).encode() + b"\n"
    return files


def _folders_named(run: RunReader) -> list[bytes]:
    """Return the folders that the record of a run names, with a slash at the end, longest first, as files hold them."""
    named = [song.prompt for step in run.steps for song in step.request.songs]
    named += [step.model.source for step in run.steps]
    named += [adapter.source for step in run.steps for adapter in step.model.adapters]
    named += [step.request.avoid.catalogue for step in run.steps if step.request.avoid is not None]
    folders = {path[: -len(name)] for path in named if path and (name := _name_of(path)) and name != path}
    texts = {text for folder in folders for text in (folder, json.dumps(folder)[1:-1], html.escape(folder))}
    return sorted((text.encode() for text in texts if len(text) > 1), key=len, reverse=True)


def run_card(run: RunReader, repo_id: str, repo_type: RunRepoType, licence: str | None = None) -> Card:
    """Return the card of a run, which plays its songs."""
    audio = run.audio_paths()
    finest = min(audio)
    players = []
    for number, song in enumerate(run.request.songs):
        path = audio[finest][number].relative_to(run.folder).as_posix()
        labels = {"continues": song.prompt, "artist": song.artist, "genre": song.genre}
        given = ", ".join(f"{name} {as_words(value)}" for name, value in labels.items() if value)
        lyrics = f"\n\n> {as_words(' / '.join(song.lyrics.splitlines()))}" if song.lyrics else ""
        heading = f"{as_code(path)}{': ' if given else ''}{given}"
        players.append(f"{heading}\n\n{audio_player(path, repo_id, repo_type)}{lyrics}")
    model = run.step.model
    adapters = ", ".join(f"{model_name(each.source)} at {each.scale:g}" for each in model.adapters)
    facts = {
        "model": model_name(model.source),
        "adapters": adapters,
        "length": f"{run.seconds:.1f} s at {run.sampling_rate} Hz",
        "levels with audio": ", ".join(map(str, sorted(audio, reverse=True))),
        "made by": ", ".join(step.action for step in run.steps),
    }
    name = repo_id.split("/")[-1]
    sections = {
        "Listen": "\n\n".join(players),
        "How it was made": table({key: value for key, value in facts.items() if value}),
        "Continue it": f"""
```bash
hf download {as_argument(repo_id)} --repo-type {repo_type} --local-dir {as_argument(name)}
hf-jukebox continue {as_argument(name)} --seconds {2 * max(1, round(run.seconds))}
```

`--model` names the model, if it is not found. All settings and codes of the run are in the repository.
""",
    }
    snippet = f"""
from huggingface_hub import snapshot_download
from hf_jukebox import JukeboxRun

run = JukeboxRun.open(snapshot_download({as_python(repo_id)}, repo_type="{repo_type}"))
print(run.seconds, run.audio_paths())
"""
    return Card(
        title=name,
        summary="A run of `hf_jukebox`: music that a model has made, its codes and all its settings.",
        snippet=snippet,
        licence=licence,
        sections=sections,
        metadata=_metadata(name, repo_type, repositories(model.source)),
    )


def _metadata(name: str, repo_type: RunRepoType, models: list[str]) -> dict[str, Any]:
    unused: dict[str, Any] = {"library_name": None, "pipeline_tag": None}
    if repo_type == "dataset":
        return unused | {"pretty_name": name}
    space = {"title": name, "emoji": "🎵", "colorFrom": "indigo", "colorTo": "gray"}
    return unused | space | {"sdk": "static", "app_file": "index.html", "models": models or None}


def _without_paths(request: Path) -> bytes:
    """Return the content of a request.json with the names of folders in place of their paths."""
    content = read_json_object(request)
    for step in content.get("steps", []):
        model = step.get("model", {})
        for place in (model, *model.get("adapters", [])):
            place["source"] = _name_of(place.get("source"))
        sampled = step.get("request", {})
        if avoid := sampled.get("avoid"):
            avoid["catalogue"] = _name_of(avoid["catalogue"])
        for song in sampled.get("songs", []):
            song["prompt"] = _name_of(song.get("prompt"))
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _name_of(path: str | None) -> str | None:
    """Return the last component of an absolute path; any other text is unchanged."""
    for kind in (PurePosixPath, PureWindowsPath):
        if path and kind(path).is_absolute():
            return kind(path).name
    return path
