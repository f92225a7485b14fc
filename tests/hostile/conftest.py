"""Limited memory for reading hostile files, and a check that nothing outside their folder changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.peak import little_memory


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with little_memory():
        yield


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[Path]:
    """Folder outside of the one that is read, which must not change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious.txt").write_text("precious")
    (folder / "ran").mkdir()
    yield folder
    assert sorted(path.name for path in folder.rglob("*")) == ["precious.txt", "ran"]
    assert (folder / "precious.txt").read_text() == "precious"
