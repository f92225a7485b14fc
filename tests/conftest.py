"""What holds for every test."""

import os

import pytest

# One thread a process: the models are tiny, and `pytest -n 2` already uses both cores. It also makes codes comparable
# between a test and the programs that it starts: sums are rounded differently where threads share them.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)  # before markers deselect
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
