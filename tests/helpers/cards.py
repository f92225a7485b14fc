"""Checks on model cards: the front matter as the Hub validates it, and the Python as a reader runs it."""

from __future__ import annotations

import re
from typing import Any

import yaml

_LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0", "other"}
_RELATIONS = {"adapter", "merge", "quantized", "finetune"}
_COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def front_matter(card: str) -> dict[str, Any]:
    """Return the metadata of a card, after the checks that the Hub makes."""
    text = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert text is not None
    fields = yaml.safe_load(text[1])
    assert isinstance(fields, dict) and all(isinstance(tag, str) for tag in fields["tags"])
    assert len(set(fields["tags"])) == len(fields["tags"])
    if "license" in fields:
        assert fields["license"] in _LICENCES
        assert (fields["license"] == "other") == ("license_name" in fields) == ("license_link" in fields)
        assert fields["license"] != "other" or re.fullmatch(r"[a-z0-9.-]+", fields["license_name"])
    base = fields.get("base_model", [])
    for name in [base] if isinstance(base, str) else base:
        assert _REPOSITORY.fullmatch(name)
    assert fields.get("base_model_relation") in _RELATIONS | {None}
    for name in [*fields.get("datasets", []), *fields.get("models", [])]:
        assert _REPOSITORY.fullmatch(name)
    assert fields.get("pipeline_tag") in ("audio-to-audio", "text-to-audio", None)
    if fields.get("sdk"):
        assert fields["sdk"] == "static" and {"title", "emoji"} <= fields.keys()
        assert {fields["colorFrom"], fields["colorTo"]} <= _COLORS
    return fields


def python_of(card: str) -> list[str]:
    """Return the blocks of Python in a card."""
    return re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)


def run_python(card: str) -> dict[str, Any]:
    """Run the Python of a card from first to last, and return its names."""
    names: dict[str, Any] = {}
    for block in python_of(card):
        exec(block, names)
    return names
