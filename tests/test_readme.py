"""What the README promises: its commands are the ones that are run, its tree is the one that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^pip install .* pytest .*$", README, re.MULTILINE)
    ci = (ROOT / ".ci/run").read_text("utf-8").replace("pip install --quiet", "pip install").splitlines()
    assert [step for step in command.split(" && ") if step not in ci] == []


def test_the_tree_names_every_source_file():
    (tree,) = re.findall(r"^    src/hf_jukebox/\n((?: {6}.*\n)+)", README, re.MULTILINE)
    listed, folders = set(), []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2 - 3
        folders[depth:] = [name] if name.endswith("/") else []
        if name.endswith(".py"):
            listed.add("".join(folders) + name)
    source = ROOT / "src/hf_jukebox"
    # A folder's own line stands for its __init__.py.
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
    linked = {(page.parent / link).resolve() for page, link in links if page.name == "README.md"}
    assert set((ROOT / "docs").glob("*.md")) <= linked
