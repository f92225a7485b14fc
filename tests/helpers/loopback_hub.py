"""A Hub on 127.0.0.1 that keeps repositories in memory, with the requests to create, fill and read one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

USER = "somebody"
TOKEN = "hf_loopback"
COMMIT = "0" * 40


class LoopbackHub(ThreadingHTTPServer):
    """Model repositories: files by path, by name of the repository."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()  # names of repositories that need a token
        self.break_after: dict[str, int] = {}  # bytes of a file after which its first download breaks off, by path
        self.requests: list[str] = []  # method and path of each
        self.sent = 0  # bytes of files
        self.created: dict[str, dict[str, Any]] = {}  # what was asked for when a repository was created
        self.branches: set[str] = set()
        self.commits: list[tuple[str, str, str]] = []  # repository, revision and query of each
        self.keeps_large_files = False  # take safetensors as large files, one request each
        self.large: dict[str, bytes] = {}  # large files by their hash
        self.uploads = 0  # of large files so far
        self.break_upload = 0  # number of the upload to refuse
        self.read: list[str] = []  # paths of files that were sent
        self.revisions: set[str] = set()  # those that files or lists of files were asked for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, folder: Path) -> None:
        """Put the files of a folder into a repository."""
        self.repositories[name] = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    def environment(self, home: Path, token: str = TOKEN) -> dict[str, str]:
        """Return the environment of a process that uses this Hub only; `home` is its cache."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_OFFLINE": "0"}
        return os.environ | own | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


@contextmanager
def hub_of_this_process(cache: Path) -> Iterator[LoopbackHub]:
    """Yield a Hub that this process uses in place of the real one; `cache` is its cache, and the working folder."""
    with loopback_hub() as hub, pytest.MonkeyPatch.context() as patch:
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        patch.setattr("huggingface_hub.hf_api.api.endpoint", hub.url)
        patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        patch.setattr("hf_jukebox.sharing.cards.ENDPOINT", hub.url)
        patch.setenv("HF_TOKEN", "hf_loopback")
        patch.chdir(cache)
        yield hub


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repository = f"{asked.get('organization') or USER}/{asked['name']}"
            self.server.created[repository] = asked
            self.server.repositories.setdefault(repository, {})
            kind = "" if asked.get("type") in (None, "model") else f"{asked['type']}s/"
            self._answer({"url": f"{self.server.url}/{kind}{repository}"})
        elif parts == ["api", "validate-yaml"]:
            self._answer({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": self._upload_mode(file["path"]),
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "branch" in parts:  # api/models/OWNER/NAME/branch/BRANCH
            self.server.branches.add(parts[-1])
            self._answer({})
        elif parts[-2:] == ["objects", "batch"]:  # OWNER/NAME.git/info/lfs/objects/batch
            objects = []
            for each in json.loads(body)["objects"]:
                upload = {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}
                objects.append(each | ({} if each["oid"] in self.server.large else {"actions": upload}))
            self._answer({"transfer": "basic", "objects": objects})
        else:  # api/models/OWNER/NAME/commit/main
            repository, files = "/".join(parts[2:4]), {}
            entries = [json.loads(line) for line in body.decode().splitlines()]
            for entry in entries:
                value = entry["value"]
                if entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = self.server.large[value["oid"]]
                elif entry["key"] == "deletedFile":
                    self.server.repositories[repository].pop(value["path"])
            self.server.commits.append((repository, "/".join(parts[5:]), self.path.partition("?")[2]))
            self.server.repositories[repository] |= files
            answer = {"commitUrl": f"{self.server.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT}
            pull_request = f"{self.server.url}/{repository}/discussions/1"
            self._answer(answer | ({"pullRequestUrl": pull_request} if "create_pr=1" in self.path else {}))

    def do_PUT(self) -> None:
        """Take a large file; the upload that `break_upload` counts to is cut off."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.uploads += 1
        if self.server.uploads == self.server.break_upload:
            self._answer({"error": "the disk is full"}, 400)
            return
        self.server.large[hashlib.sha256(content).hexdigest()] = content
        self._answer({})

    def _upload_mode(self, path: str) -> str:
        return "lfs" if self.server.keeps_large_files and path.endswith(".safetensors") else "regular"

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        self.server.requests.append(f"{self.command} {self.path}")
        if parts[0] in ("datasets", "spaces"):
            parts = parts[1:]
        about, owner_and_name = parts[0] == "api", parts[2:4]
        repository = "/".join(owner_and_name if about else parts[:2])
        files = self.server.repositories.get(repository)
        self.server.revisions |= {after for word, after in pairwise(parts) if word in ("resolve", "revision", "tree")}
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if files is None or (repository in self.server.private and not authorized):
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif about and "tree" in parts:
            self._answer([{"type": "file", "path": path, "size": len(x), "oid": _oid(x)} for path, x in files.items()])
        elif about:
            self._answer({"id": repository, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
        elif parts[3] not in ("main", COMMIT, *self.server.branches):  # OWNER/NAME/resolve/REVISION/PATH
            self._answer({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif (path := "/".join(parts[4:])) in files:
            self._send_file(path, files[path])
        else:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            self._answer({"error": "Entry not found"}, 404, headers)

    do_HEAD = do_GET

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send_file(self, path: str, content: bytes) -> None:
        """Send a file or the range of it that was asked for; the first download of some breaks off."""
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status, asked = 200, self.headers.get("Range")
        if asked is not None:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), int(last) + 1 if last else len(content)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            status, content = 206, content[start:end]
        if self.command == "HEAD":
            self._send(content, status, headers)
            return
        self.server.read.append(path)
        count = self.server.break_after.pop(path, None)
        self.server.sent += len(content) if count is None else count
        if count is None:
            self._send(content, status, headers)
            return
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:count])
        self.close_connection = True

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
