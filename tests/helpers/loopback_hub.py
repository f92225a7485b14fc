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

USER = "somebody"
COMMIT = "0" * 40


class LoopbackHub(ThreadingHTTPServer):
    """Model repositories: files by path, by name of the repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.read: list[str] = []  # paths of files that were sent
        self.revisions: set[str] = set()  # those that files or lists of files were asked for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment of a process that uses this Hub only; `home` is its cache."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": "hf_loopback", "HF_HUB_OFFLINE": "0"}
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


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repository = f"{asked.get('organization') or USER}/{asked['name']}"
            self.server.repositories.setdefault(repository, {})
            self._answer({"url": f"{self.server.url}/{repository}"})
        elif parts == ["api", "validate-yaml"]:
            self._answer({"errors": [], "warnings": []})
        elif "preupload" in parts:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        else:  # api/models/OWNER/NAME/commit/main
            repository = "/".join(parts[2:4])
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    self.server.repositories[repository][entry["value"]["path"]] = content
            self._answer({"commitUrl": f"{self.server.url}/{repository}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        about, owner_and_name = parts[:2] == ["api", "models"], parts[2:4]
        repository = "/".join(owner_and_name if about else parts[:2])
        files = self.server.repositories.get(repository)
        self.server.revisions |= {after for word, after in pairwise(parts) if word in ("resolve", "revision", "tree")}
        if files is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif about and "tree" in parts:
            self._answer([{"type": "file", "path": path, "size": len(x), "oid": _oid(x)} for path, x in files.items()])
        elif about:
            self._answer({"id": repository, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]})
        elif parts[3] not in ("main", COMMIT):  # OWNER/NAME/resolve/REVISION/PATH
            self._answer({"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif (path := "/".join(parts[4:])) in files:
            self.server.read.append(path)
            self._send(files[path], 200, {"ETag": f'"{_oid(files[path])}"', "X-Repo-Commit": COMMIT})
        else:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            self._answer({"error": "Entry not found"}, 404, headers)

    do_HEAD = do_GET

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

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
