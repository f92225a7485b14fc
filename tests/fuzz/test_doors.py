"""Readers accept any file or raise a ValueError or OSError, in bounded time and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fuzz.doors import DOORS, check
from helpers.peak import little_memory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def limited() -> Iterator[None]:
    with little_memory():
        yield


@pytest.mark.parametrize("name", DOORS)
def test_malformed_files_are_read_or_refused(name: str, request: pytest.FixtureRequest) -> None:
    door = DOORS[name]
    contents = door.contents()
    request.getfixturevalue("limited")

    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=timedelta(seconds=60),
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def enter(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            check(door, content, Path(folder))

    enter()


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_many_malformed_files_are_read_or_refused(name: str, limited: None) -> None:
    door = DOORS[name]

    @settings(max_examples=1000, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def enter(data: st.DataObject) -> None:
        content = data.draw(door.contents())
        with tempfile.TemporaryDirectory() as folder:
            check(door, content, Path(folder))

    enter()
