"""Cards (README.md) of pipelines, models, adapters and runs: the only place where they are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.constants import ENDPOINT

from .licences import licence_metadata, licence_text
from .quoting import as_python, as_words

CARD = "README.md"
_TAGS = ("jukebox", "music", "audio")
_MARK = re.compile(r"\n<!-- written by hf_jukebox ([0-9a-f]{16}); a card that was edited is kept -->\n\Z")
# What stands before the name of a folder in a card, where a repository's name may take its place.
_NAMES = r'(?m:^# )|\("|, "|--(?:model|lora|prior|vqvae|resume_from_checkpoint) '
_DEMO_ENDING = ("hf_jukebox", "demo", "model")


@dataclass(frozen=True)
class Card:
    """The content of a card.

    Attributes:
        title: Heading.
        summary: Markdown below it.
        snippet: Python that loads what the card describes.
        licence: Licence of the weights: an id of the Hub, or `NON_COMMERCIAL`; None if it is unknown.
        sections: Heading to Markdown; empty ones are left out.
        base_model: Repositories of the models that it was made from.
        relation: How: `"finetune"`, `"adapter"`, `"merge"` or `"quantized"`.
        datasets: Repositories of its training data.
        tags: Tags besides those of all models.
        metadata: Other fields of the front matter; they take precedence.
    """

    title: str
    summary: str
    snippet: str
    licence: str | None = None
    sections: Mapping[str, str] = field(default_factory=dict)
    base_model: Sequence[str] = ()
    relation: str | None = None
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def front_matter(self) -> dict[str, Any]:
        base = list(self.base_model)
        fields: dict[str, Any] = {
            "library_name": "hf_jukebox",
            "pipeline_tag": "audio-to-audio",
            "tags": [*_TAGS, *self.tags],
            **licence_metadata(self.licence),
            "base_model": base[0] if len(base) == 1 else base or None,
            "base_model_relation": self.relation if base else None,
            "datasets": list(self.datasets) or None,
            **self.metadata,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def text(self) -> str:
        """Return the file: front matter, heading, snippet, sections."""
        snippet = f"```python\n{self.snippet.strip()}\n```" if self.snippet else ""
        sections = {**self.sections, "Licence and outputs": licence_text(self.licence)}
        parts = [f"# {as_words(self.title)}", snippet, self.summary]
        parts += [f"## {heading}\n\n{text.strip()}" for heading, text in sections.items() if text.strip()]
        body = "\n\n".join(part for part in parts if part) + "\n"
        return _with_front_matter(self.front_matter, body + _mark(body))


def published_card(new: Card, remote: str | None, local: str | None) -> str:
    """Return the card to upload: one that somebody has edited, with its metadata completed, or else a new one.

    Args:
        remote: Card in the repository; None without one. One that nobody has edited is replaced.
        local: Card in the folder, which is kept in any case.
    """
    existing = local if remote is None or is_unedited(remote) else remote
    return new.text() if existing is None else completed_card(new, existing)


def completed_card(new: Card, existing: str) -> str:
    """Return an existing card with the metadata of a new one that it lacks."""
    card = ModelCard(existing, ignore_metadata_errors=True)
    fields = card.data.to_dict()
    missing = {name: value for name, value in new.front_matter.items() if name not in fields}
    if "license" in fields:  # another licence's name and link would be wrong
        missing = {name: value for name, value in missing.items() if not name.startswith("license")}
    return existing if not missing else _with_front_matter(fields | missing, card.text.lstrip("\n"))


def renamed_card(text: str, folder: str, repo_id: str) -> str:
    """Return a card of this module with a repository in place of its folder; one that somebody edited is unchanged."""
    if not is_unedited(text):
        return text
    text = _MARK.sub("", text.replace("\r\n", "\n"))
    front, separator, body = text.rpartition("\n---\n\n") if text.startswith("---\n") else ("", "", text)
    body = re.sub(rf"({_NAMES}){re.escape(folder)}(?![\w./-])", lambda match: match[1] + repo_id, body)
    body = re.sub(r'<audio controls src="(?!https?:)(.+?)">', lambda match: _player(unquote(match[1]), repo_id), body)
    return front + separator + body + _mark(body)


def audio_player(path: str, repo_id: str | None = None, repo_type: str = "model") -> str:
    """Return a player of an audio file, as a card shows it; pages of the Hub need the full address."""
    return f"{_player(path, repo_id, repo_type)}</audio>"


def loading_code(class_name: str, source: str) -> str:
    """Return the Python expression that loads a model from a folder or repository, also a part of the demo model."""
    parts = Path(source).parts
    if parts[-4:-1] == _DEMO_ENDING:
        return f"{class_name}.from_pretrained(DEMO_MODEL, subfolder={as_python(parts[-1])})"
    if parts[-3:] == _DEMO_ENDING:
        return f"{class_name}.from_pretrained(DEMO_MODEL)"
    return f"{class_name}.from_pretrained({as_python(public_name(source))})"


def public_name(source: str) -> str:
    """Return the name of a repository; for a folder of this machine, only its last component."""
    return Path(source).resolve().name if Path(source).is_dir() else source


def repositories(*sources: str | None) -> list[str]:
    """Return those of the sources that are Hub repositories, each once."""
    found = (source for source in sources if source and not Path(source).exists())
    return list(dict.fromkeys(source for source in found if re.fullmatch(r"[\w.-]+/[\w.-]+", source)))


def table(rows: Mapping[str, object]) -> str:
    """Return rows of names and values as Markdown, in which values are shown as they are."""
    lines = [f"| {name} | {as_words(str(value))} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _with_front_matter(fields: Mapping[str, Any], body: str) -> str:
    text = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n\n{body}"


def _mark(body: str) -> str:
    digest = hashlib.sha256(body.strip().encode()).hexdigest()[:16]
    return f"\n<!-- written by hf_jukebox {digest}; a card that was edited is kept -->\n"


def _player(path: str, repo_id: str | None, repo_type: str = "model") -> str:
    kind = "" if repo_type == "model" else f"{repo_type}s/"
    address = path if repo_id is None else f"{ENDPOINT}/{kind}{repo_id}/resolve/main/{path}"
    return f'<audio controls src="{quote(address, safe=":/")}">'


def is_unedited(text: str) -> bool:
    """Return True for a card of this module that nobody has changed below its front matter."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text.replace("\r\n", "\n"), count=1, flags=re.DOTALL)
    mark = _MARK.search(text)
    return mark is not None and mark[0] == _mark(_MARK.sub("", text))
