"""Readers accept any file or raise a ValueError or OSError, in bounded time and memory."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fuzz.doors import DOORS, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BYTES = 2 * 2**30  # of address space beyond that of the process, so that large allocations fail at once


@pytest.fixture
def little_memory() -> Iterator[None]:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", DOORS)
def test_malformed_files_are_read_or_refused(name: str, request: pytest.FixtureRequest) -> None:
    door = DOORS[name]
    contents = door.contents()
    request.getfixturevalue("little_memory")

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
def test_many_malformed_files_are_read_or_refused(name: str, little_memory: None) -> None:
    door = DOORS[name]

    @settings(max_examples=1000, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def enter(data: st.DataObject) -> None:
        content = data.draw(door.contents())
        with tempfile.TemporaryDirectory() as folder:
            check(door, content, Path(folder))

    enter()
