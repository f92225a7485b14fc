"""What a power cut may leave of a folder: the file operations of a program, recorded, and every state in between.

Names change in the order in which they were changed, and any number of the last changes is lost. The content of a file
is safe once the file has been synchronised; until then it may be whole, empty or cut in half, or the file missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

Operation = tuple[Any, ...]
WHOLE, EMPTY, HALF, MISSING = "whole", "empty", "half", "missing"


@dataclass
class Recorder:
    """The operations on a folder, in order; contents are found by looking before each of them."""

    root: Path
    operations: list[Operation] = field(default_factory=list)
    _seen: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def look(self) -> None:
        """Note what has been written since the last operation."""
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_dir() or path.is_symlink() or path.name in (".lock", ".lock.pid"):
                continue
            stat = path.stat()
            mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if self._seen.get(name) != mark:
                self._seen[name] = mark
                self.operations.append(("write", name, path.read_bytes()))

    def note(self, kind: str, *paths: Any, dir_fd: int | None = None) -> None:
        inside = [self._name(path, dir_fd) for path in paths]
        if None in inside or any(name.endswith((".lock", ".lock.pid")) for name in inside if name):
            return
        self.look()
        self.operations.append((kind, *inside))
        if kind == "replace":
            first, second = inside
            moved = [name for name in self._seen if name == first or name.startswith(f"{first}/")]
            for name in moved:
                self._seen[second + name[len(first) :]] = self._seen.pop(name)

    def _name(self, path: Any, dir_fd: int | None) -> str | None:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        path = Path(os.path.abspath(path))
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else None


@contextmanager
def recorded(root: Path) -> Iterator[Recorder]:
    """Record what happens to a folder, which exists."""
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:

        def hook(name: str, kind: str, count: int) -> None:
            real = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                recorder.note(kind, *arguments[:count], dir_fd=options.get("dir_fd"))
                return real(*arguments, **options)

            patch.setattr(os, name, call)

        for name, kind, count in (
            ("replace", "replace", 2),
            ("rename", "replace", 2),
            ("link", "link", 2),
            ("unlink", "remove", 1),
            ("remove", "remove", 1),
            ("rmdir", "remove", 1),
            ("mkdir", "mkdir", 1),
            ("fsync", "sync", 1),
        ):
            hook(name, kind, count)
        yield recorder
        recorder.look()


@dataclass
class _File:
    content: bytes
    safe: bytes | None = None  # as it was when it was synchronised


def states(operations: list[Operation]) -> Iterator[tuple[int, str, dict[str, bytes | None]]]:
    """Every state after a power cut: operations done, what became of contents, and names with contents (None: folder).

    Equal states are given once.
    """
    files: dict[str, _File | None] = {}
    given = set()
    for done in range(len(operations) + 1):
        if done:
            _apply(files, operations[done - 1])
        for fate in (WHOLE, EMPTY, HALF, MISSING):
            state = {name: content for name, file in files.items() if (content := _left(file, fate)) is not Ellipsis}
            key = hash(tuple(sorted((name, content) for name, content in state.items() if content is not None)))
            if key not in given:
                given.add(key)
                yield done, fate, state


def rebuild(state: dict[str, bytes | None], folder: Path) -> None:
    """Make a folder as it was left."""
    folder.mkdir(parents=True)
    for name, content in sorted(state.items()):
        if content is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def _left(file: _File | None, fate: str) -> Any:
    if file is None or fate == WHOLE or file.content == file.safe:
        return None if file is None else file.content
    if fate == MISSING:
        return ... if file.safe is None else file.safe
    return b"" if fate == EMPTY else file.content[: len(file.content) // 2]


def _apply(files: dict[str, _File | None], operation: Operation) -> None:
    kind, name, *rest = operation
    if kind == "write":
        before = files.get(name)
        files[name] = _File(rest[0], None if before is None else before.safe)
    elif kind == "mkdir":
        files.setdefault(name, None)
    elif kind == "remove":
        files.pop(name, None)
    elif kind == "sync":
        file = files.get(name)
        if file is not None:
            file.safe = file.content
    elif kind == "link":
        files[rest[0]] = files.get(name)
    else:
        for old in [each for each in files if each == name or each.startswith(f"{name}/")]:
            files[rest[0] + old[len(name) :]] = files.pop(old)
