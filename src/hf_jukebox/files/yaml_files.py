"""YAML files whose values are kept as text: `808`, `Yes`, `007` and `12:30` stay as they were typed."""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import yaml

from .text import read_text

Text: TypeAlias = "str | list[Text] | dict[str, Text] | None"

_MAX_DEPTH = 4  # nested lists and mappings
_NO_VALUE = ("", "~", "null")
# libyaml's parser, if PyYAML was built with it, is ten times as fast. Neither loader resolves or constructs anything.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_yaml(path: str | os.PathLike[str], most: int = 100_000) -> Text:
    """Read a YAML file with every value as text, or as None if it is empty, `~` or `null` without quotes.

    Args:
        path: The file.
        most: Maximum number of values, names and lists in it.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not UTF-8 or not YAML, is too large or too deep, repeats parts by anchors, or gives a
            name twice.
    """
    text = read_text(path)
    try:
        _check_size(text, path, most)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    return None if node is None else _content(node, path)


def _check_size(text: str, path: str | os.PathLike[str], most: int) -> None:
    """Check depth and size event by event, before building anything that a small file could blow up."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        count += isinstance(event, yaml.NodeEvent)
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{path}, line {line}: *{event.anchor} repeats another part; write it out.")
        if depth > _MAX_DEPTH:
            raise ValueError(f"{path}, line {line}: lists and fields are nested too deeply.")
        if count > most:
            raise ValueError(f"{path} holds more than {most} values; split it into several files.")


def _content(node: Any, path: str | os.PathLike[str]) -> Text:
    match node:
        case yaml.ScalarNode():
            return None if not node.style and node.value in _NO_VALUE else node.value
        case yaml.SequenceNode():
            return [_content(each, path) for each in node.value]
    content: dict[str, Text] = {}
    for key, value in node.value:
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{where}: expected 'name: value'.")
        if key.value in content:
            raise ValueError(f"{where}: {key.value} is given twice.")
        content[key.value] = _content(value, path)
    return content
