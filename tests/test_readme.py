"""The README and the pages in docs/: their commands, their tree of files and their links."""

import re
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_commands_of_the_readme():
    start = README.split("## Start")[1].split("\n## ")[0]
    commands = re.findall(r"^pip install .*$", start, re.MULTILINE)
    ci = [line.strip() for line in (ROOT / ".ci/run").read_text("utf-8").splitlines()]
    assert len(commands) == 2 and "hf-jukebox sample" in commands[0] and "pytest" in commands[1]
    assert [line for line in ci if line in commands] == commands


def test_the_commands_install_versions_that_setup_allows():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        name, version = line.split("==")
        pinned[canonicalize_name(name)] = version
    ranges = re.findall(r'"([\w-]+)(>=[\d.]+(?:,<[\d.]+)?)"', (ROOT / "setup.py").read_text("utf-8"))
    assert len(ranges) > 20
    outside = [name for name, allowed in ranges if pinned[canonicalize_name(name)] not in SpecifierSet(allowed)]
    assert outside == []


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def test_the_tree_names_every_source_file():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    (tree,) = re.findall(r"^    src/hf_jukebox/\n((?: {6}.*\n)+)", page, re.MULTILINE)
    listed, folders = set(), []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2 - 3
        folders[depth:] = [name] if name.endswith("/") else []
        if name.endswith(".py"):
            listed.add("".join(folders) + name)
    source = ROOT / "src/hf_jukebox"
    # The line of a folder stands for its __init__.py.
    files = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if path.parent == source or path.stem != "__init__"
    }
    assert listed == files


def test_links_between_the_pages_lead_to_files():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
    leads_to = {page: {(page.parent / link).resolve() for other, link in links if other == page} for page in pages}
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        new = set().union(*(leads_to.get(page, set()) for page in new)) - reached
    assert set((ROOT / "docs").glob("*.md")) <= reached
