"""Fixtures of the tests that write run folders."""

import os

import pytest


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out fsync, which only matters when the machine itself goes down."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
