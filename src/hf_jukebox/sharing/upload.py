"""Uploads to the Hub: one commit with the files, and with a card that keeps what others wrote."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import EntryNotFoundError

from ..files.text import first_line, read_text
from .cards import CARD, Card, published_card, renamed_card

RepoType = Literal["model", "dataset", "space"]

# Nothing that has to be unpickled or executed is uploaded.
_SUFFIXES = {".safetensors", ".json", ".jsonl", ".txt", ".md", ".png", ".html", ".wav", ".flac", ".mp3", ".ogg"}


def upload_folder(
    folder: Path,
    repo_id: str,
    card: Card | Callable[[str], Card],
    *,
    repo_type: RepoType = "model",
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
    files: Mapping[str, Path | bytes] | None = None,
    delete: Callable[[str], bool] | None = None,
    space_sdk: str | None = None,
) -> str:
    """Upload a folder as one commit, and return the address of the commit or pull request.

    If an upload is interrupted, repeat it: large files that have arrived are not sent again.

    Args:
        folder: Folder of the files; subfolders and their safetensors, JSON, text, audio and pictures are included.
        repo_id: Repository, created unless it exists.
        card: Its card, or a function of the full name of the repository that returns it. A card that somebody has
            edited, in the repository or in `folder`, is kept, and its metadata completed.
        private: Create a private repository; by default as the Hub's settings say.
        revision: Branch, created unless it exists; `main` by default.
        create_pr: Open a pull request in place of a commit.
        files: Files to upload in place of all of the folder: path in the repository to path or content.
        delete: Says of a file in the repository that is not uploaded whether it is deleted in the same commit.
        space_sdk: Kind of a new Space, such as `"static"`.

    Raises:
        OSError: the Hub rejects the upload or cannot be reached, or a file cannot be read.
    """
    api = HfApi(token=token)
    files = dict(iter_files(folder)) if files is None else dict(files)
    local = files.pop(CARD, None)
    try:
        repo_id = create_repository(api, repo_id, repo_type, private, revision if not create_pr else None, space_sdk)
        card = card(repo_id) if callable(card) else card
        remote = _read_card(api, repo_id, repo_type, revision)
        own = _text(local)
        own = None if own is None else renamed_card(own, folder.resolve().name, repo_id)
        operations: list[Any] = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in sorted(files.items())
        ]
        operations.append(CommitOperationAdd(CARD, published_card(card, remote, own).encode()))
        if delete is not None:
            there = api.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
            operations += [CommitOperationDelete(path) for path in there if path not in {*files, CARD} and delete(path)]
        commit = api.create_commit(
            repo_id,
            operations,
            commit_message=commit_message or "Upload with hf_jukebox",
            repo_type=repo_type,
            revision=revision,
            create_pr=create_pr,
        )
    except Exception as error:  # the types depend on the version of huggingface_hub
        raise OSError(
            f"{folder} could not be uploaded to {repo_id} ({first_line(error)}); log in with `hf auth login`, check "
            "the name and the network, and try again: what has arrived is not sent again."
        ) from error
    return str(commit.pr_url or commit.commit_url)


def create_repository(
    api: HfApi,
    repo_id: str,
    repo_type: RepoType = "model",
    private: bool | None = None,
    revision: str | None = None,
    space_sdk: str | None = None,
) -> str:
    """Create a repository and a branch unless they exist, and return the full name of the repository."""
    options: dict[str, Any] = {"space_sdk": space_sdk or "static"} if repo_type == "space" else {}
    repo_id = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, **options).repo_id
    if revision not in (None, "main"):
        api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return repo_id


def iter_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a folder to upload: path in the repository, path here.

    Hidden files, links that lead out of the folder, and files that could hold code are left out.
    """
    inside = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent) / name
            if name.startswith(".") or path.suffix.lower() not in _SUFFIXES:
                continue
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield path.relative_to(folder).as_posix(), path


def _read_card(api: HfApi, repo_id: str, repo_type: RepoType, revision: str | None) -> str | None:
    place: dict[str, Any] = {"repo_type": repo_type, "revision": revision}
    with tempfile.TemporaryDirectory() as cache:  # the card in the cache of the Hub may be older
        try:
            return read_text(api.hf_hub_download(repo_id, CARD, cache_dir=cache, **place))
        except EntryNotFoundError:
            return None


def _text(content: Path | bytes | None) -> str | None:
    if content is None:
        return None
    return content.decode() if isinstance(content, bytes) else read_text(content)
