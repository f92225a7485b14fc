"""Check the built site without the network: `python docs/_site/check.py docs/_build/html`.

Every link and anchor leads somewhere, pages load nothing from elsewhere, and the search knows the words of common
questions.
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WORDS = ["out of memory", "resume", "lyrics", "mp3", "Colab", "seed", "CUDA", "commercial"]
LOADED = {"img": "src", "script": "src", "link": "href", "audio": "src", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """Links, anchors and loaded files of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADED[tag]])


def broken_links(folder: Path) -> list[str]:
    pages = {path: Page(path) for path in folder.rglob("*.html")}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for address in page.loaded:
            if urlsplit(address).netloc:
                faults.append(f"{name} loads {address}, which is not part of the site")
        for address in {*page.links, *page.loaded}:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists():
                faults.append(f"{name} links to {address}, which does not exist")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                faults.append(f"{name} links to {address}, but {target.name} has no such anchor")
    return sorted(faults)


def words_not_found(folder: Path) -> list[str]:
    """Return the words that the search of the site does not find, by its own index."""
    text = (folder / "searchindex.js").read_text("utf-8")
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    terms = {**index["terms"], **index["titleterms"]}
    missing = []
    for words in WORDS:
        for word in re.findall(r"\w+", words.lower()):
            stemmed = [term for term in terms if term[:4] == word[:4] and (term in word or word in term)]
            if not stemmed and word not in ("out", "of"):
                missing.append(f"The search does not find {word!r}")
    return missing


def main(folder: Path) -> None:
    faults = [*broken_links(folder), *words_not_found(folder)]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{sum(1 for _ in folder.rglob('*.html'))} pages: all links lead somewhere, and the search finds its words.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
