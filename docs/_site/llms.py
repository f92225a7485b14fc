"""llms.txt: what the site holds, one page per line, and the text of all pages in one file, for language models."""

from pathlib import Path
from typing import Any

from . import structure


def write(app: Any, error: Exception | None) -> None:
    """Write llms.txt, llms-full.txt and the Markdown of every page beside the built site."""
    if error is not None or app.builder.name != "html":
        return
    out, lines, full = Path(app.outdir), ["# hf_jukebox", "", f"> {summary()}", ""], []
    for section in structure.SECTIONS["index"]:
        lines += [f"## {title(section)}", ""]
        for page in (section, *structure.pages(section)):
            text = markdown(page)
            lines.append(f"- [{title(page)}]({page}.md)")
            full.append(text)
            (out / f"{page}.md").parent.mkdir(parents=True, exist_ok=True)
            (out / f"{page}.md").write_text(text, encoding="utf-8")
        lines.append("")
    lines += ["## For programs", "", "- [Commands and options](command-line.json)", "- [All pages](llms-full.txt)", ""]
    (out / "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    (out / "llms-full.txt").write_text("\n\n".join(full), encoding="utf-8")


def summary() -> str:
    """Return the first paragraph of the first page."""
    return " ".join(markdown("index").split("\n\n")[1].split())


def title(page: str) -> str:
    return markdown(page).split("\n", 1)[0].removeprefix("# ")


def markdown(page: str) -> str:
    """Return the text of a page; of a notebook, that of its source."""
    for path in (structure.DOCS / f"{page}.md", structure.DOCS / "notebooks" / f"{Path(page).name}.md"):
        if path.exists():
            return path.read_text("utf-8")
    raise FileNotFoundError(f"There is no Markdown of {page}.")
