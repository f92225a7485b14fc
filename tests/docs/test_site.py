"""The parts of the documentation site that are made by code, without building it."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import hf_jukebox
from hf_jukebox import DEMO_MODEL, JukeboxVQVAEConfig
from hf_jukebox.cli import app
from hf_jukebox.hierarchy import Hierarchy

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


def test_every_public_name_is_on_the_page_of_the_api_once() -> None:
    lines = "\n".join(reference._api_page()).splitlines()
    named = [
        line.rpartition("hf_jukebox.")[2] for line in lines if line.startswith(".. auto") and "hf_jukebox." in line
    ]
    assert sorted(set(hf_jukebox.__all__) - {"DEMO_MODEL", "DEMO_PROMPT"} - set(named)) == []
    assert len(named) == len(set(named))


def test_the_messages_of_the_page_on_troubleshooting_are_those_of_the_code() -> None:
    messages = re.findall(
        r'^\*\*(?:Training: )?"(.+?)"\*\*', (DOCS / "troubleshooting.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(messages) > 15
    texts = list(texts_of_the_code())
    for message in messages:
        for part in re.split(r"\.\.\.|artist|[;,]", message):
            words = part.strip(" .()")
            is_whole = len(words.split()) > 3  # shorter ones may stand around a value
            assert not is_whole or any(words in text for text in texts), f"{message}: the code does not say {words!r}"


def texts_of_the_code() -> Iterator[str]:
    """Yield the strings in the source, with a mark in the place of values."""
    for path in Path(hf_jukebox.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("page", sorted((DOCS).glob("*.md")), ids=lambda page: page.stem)
def test_a_page_has_one_title_and_nothing_before_it(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1 and text.startswith("# ")


def test_the_pages_give_the_steps_of_20_s_as_the_code_counts_them() -> None:
    published, demo = (
        [f"{hierarchy.codes(level, hierarchy.samples('length', 20) // hierarchy.top_hop):,}" for level in (2, 1, 0)]
        for hierarchy in (
            Hierarchy(JukeboxVQVAEConfig.from_preset("5b"), [None] * 3),
            Hierarchy(JukeboxVQVAEConfig.from_pretrained(DEMO_MODEL, subfolder="vqvae"), [None] * 3),
        )
    )
    for name, figures in {
        "performance": published,
        "how-it-works": published,
        "which-model": [*published, *demo],
    }.items():
        text = (DOCS / f"{name}.md").read_text("utf-8")
        assert [figure for figure in figures if figure not in text] == [], name
