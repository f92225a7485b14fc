"""Structure of the site: sections by what readers want, and the pages of each.

The pages stay plain Markdown in one folder, so that they read well where no site is built. Their order stands here.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1]

# Page of a section, and its pages. A page that is in no section stops the build.
SECTIONS = {
    "start": ["first-music", "colab", "which-model", "generated/notebooks/sample"],
    "guides": [
        "sampling",
        "generated/notebooks/co_compose",
        "styles",
        "conditioning",
        "listening-page",
        "app",
        "daw",
        "song-files",
        "streaming",
        "fine-tune",
        "generated/notebooks/fine_tune",
        "adapters",
        "training",
        "training-data",
        "training-scale",
        "training-memory",
        "evaluation",
        "scoring",
        "embedding",
        "generated/notebooks/representations",
        "checkpoints",
        "hub",
        "sharing",
        "several-gpus",
        "little-memory",
        "troubleshooting",
    ],
    "reference": ["generated/api", "generated/command-line", "generated/training-options", "file-formats"],
    "how-it-works": ["demo", "clean-hands"],
    "develop": [
        "architecture",
        "exactness",
        "performance",
        "decode-step",
        "measurements",
        "safety",
        "dependencies",
        "releasing",
        "generated/contributing",
        "generated/changelog",
    ],
}
SECTIONS["index"] = list(SECTIONS)


def pages(section: str) -> list[str]:
    """Return the pages of a section that exist."""
    return [page for page in SECTIONS[section] if exists(page)]


def exists(page: str) -> bool:
    return any((DOCS / f"{page}{suffix}").exists() for suffix in (".md", ".ipynb"))


def with_toctree(page: str, text: str) -> str:
    """Add the pages of a section below its text."""
    if page not in SECTIONS:
        return text
    return "\n".join([text, "", "```{toctree}", ":hidden:", "", *pages(page), "```", ""])


def with_own_links(page: str, text: str) -> str:
    """Lead links to pages that are made in the build there, and show links to the sources of the repository as code."""
    up = re.escape("../" * (page.count("/") + 1))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = re.sub(rf"\]\({up}{name}", f"](/generated/{name.lower()}", text)
    notebook = r"[\1](/generated/notebooks/\2.ipynb) ({download}`.ipynb </generated/notebooks/\2.ipynb>`)"
    text = re.sub(r"\[([^\]]+)\]\(notebooks/(\w+)\.md\)", notebook, text)
    text = re.sub(rf"\]\({up}README\.md", "](/index.md", text)
    return re.sub(rf"\[(`?)([^\]]+?)`?\]\({up}(?!\w[\w-]*\.md)[^)]*\)", r"`\2`", text)
