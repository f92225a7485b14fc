"""The parts of the documentation site that are made by code, without building it."""

import re
import sys
from pathlib import Path

import pytest
import typer.main

import hf_jukebox
from hf_jukebox.cli import app

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from _site import drawings, reference, structure  # noqa: E402


def test_every_page_is_in_one_section() -> None:
    placed = [page for pages in structure.SECTIONS.values() for page in pages]
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages <= set(placed)
    assert len(placed) == len(set(placed))
    assert {path.stem for path in (DOCS / "notebooks").glob("*.md")} == {
        page.rpartition("/")[2] for page in placed if page.startswith("generated/notebooks/")
    }


def test_the_drawings_are_those_of_the_masks() -> None:
    for name, text in drawings.drawings().items():
        assert (DOCS / "images" / name).read_text("utf-8") == text, f"{name} is old; run docs/_site/drawings.py"


def test_the_reference_has_every_command_with_help_for_every_option() -> None:
    def names(command: reference.Command) -> set[str]:
        return {command["name"]}.union(*(names(each) for each in command.get("commands", [])))

    tree = reference.command_tree()
    assert tree["version"] == hf_jukebox.__version__
    commands = typer.main.get_command(app).commands
    assert {f"hf-jukebox {name}" for name in commands} <= names(tree)
    assert {"hf-jukebox train prior", "hf-jukebox convert openai"} <= names(tree)
    for command in reference._flat(tree):
        assert command["help"], command["name"]
        for parameter in command.get("parameters", []):
            assert parameter["help"], f"{command['name']} {parameter['names']}"


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = "\n".join(reference._api_page())
    assert [name for name in hf_jukebox.__all__ if name != "DEMO_MODEL" and f"hf_jukebox.{name}" not in page] == []


@pytest.mark.parametrize("page", sorted((DOCS).glob("*.md")), ids=lambda page: page.stem)
def test_a_page_has_one_title_and_nothing_before_it(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1 and text.startswith("# ")
